# SPDX-License-Identifier: Apache-2.0
# Four RDMA devices, rx1 to rx4 at 10.99.1.1 to 10.99.1.4, in one virtual machine, with a bridge between them that packets
# really cross: sourced there. Port p1 of the bridge is rx1's, and so on: what tc does there, rx1 doesn't notice; a link that
# goes down there is down at both ends.
# shellcheck shell=bash
set_up_nodes() {
  local i j
  sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0 net.ipv4.conf.all.accept_local=1 \
    net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2
  ip link add br0 type bridge
  ip link set br0 up
  for i in 1 2 3 4; do
    ip link add "n$i" type veth peer name "p$i"
    ip link set "p$i" master br0 up
    ip addr add "10.99.1.$i/32" dev "n$i"
    ip link set "n$i" up
    # What leaves a device goes over its wire, though the kernel knows the destination as its own; what arrives there is
    # for this machine.
    ip route add 10.99.1.0/24 dev "n$i" src "10.99.1.$i" table "10$i"
    ip rule add pref "1$i" iif "n$i" lookup local
    ip rule add pref "2$i" oif "n$i" lookup "10$i"
    ip rule add pref "3$i" from "10.99.1.$i" iif lo lookup "10$i"
  done
  ip rule add pref 100 lookup local
  ip rule del pref 0
  for i in 1 2 3 4; do
    for j in 1 2 3 4; do
      ((i == j)) || ip neigh add "10.99.1.$j" lladdr "$(<"/sys/class/net/n$j/address")" dev "n$i" nud permanent
    done
    rdma link add "rx$i" type rxe netdev "n$i"
  done
}
# received N: packets that device rxN has received.
received() { cat "/sys/class/infiniband/rx$1/ports/1/hw_counters/rcvd_pkts"; }
