// SPDX-License-Identifier: Apache-2.0
// The port of an RDMA device that a worker uses.
#pragma once

#include <infiniband/verbs.h>

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/transport/verbs/resources.h"

namespace droidspeak::verbs {

// Which one: DEVICE[:PORT[:GID_INDEX]], as in "mlx5_0:1:3". What is left out is chosen: the first port that is active,
// and of a RoCE port's addresses the first one of RoCE v2 with an IPv4 address, else with an IPv6 address.
inline constexpr char kDeviceVariable[] = "DROIDSPEAK_VERBS_DEVICE";

// Owns the device's context and a protection domain. Not thread-safe.
class Device {
 public:
  // The one that kDeviceVariable names, or the first that can be used. NOT_FOUND: there is none, or none of that name;
  // UNAVAILABLE: its port is down; FAILED_PRECONDITION: a RoCE port without an address to be reached at.
  [[nodiscard]] static absl::StatusOr<std::shared_ptr<Device>> Open();
  // The same, by its text.
  [[nodiscard]] static absl::StatusOr<std::shared_ptr<Device>> Open(const std::string& which);

  ibv_context* context() const { return context_.get(); }
  ibv_pd* domain() const { return domain_.get(); }
  uint8_t port() const { return port_; }
  uint8_t gid_index() const { return gid_index_; }
  const ibv_gid& gid() const { return gid_; }
  const ibv_port_attr& port_attributes() const { return port_attributes_; }
  const ibv_device_attr& attributes() const { return attributes_; }
  bool is_ethernet() const { return port_attributes_.link_layer == IBV_LINK_LAYER_ETHERNET; }
  // The link's speed in Gbit/s, of all its lanes.
  double gigabits() const;
  // DEVICE:PORT:GID_INDEX.
  const std::string& name() const { return name_; }

  // Whether the port is still as it was: active, with the same address. UNAVAILABLE says what changed.
  [[nodiscard]] absl::Status Check() const;
  // Looks at the port anew, as Open() did; what was registered stays.
  [[nodiscard]] absl::Status LookAgain();

 private:
  struct Close {
    void operator()(ibv_context* context) const { ibv_close_device(context); }
  };

  Device() = default;
  absl::Status Use(ibv_device* device, int port, int gid_index);
  absl::Status LookAtPort(int port);
  absl::Status ChooseGid();

  std::unique_ptr<ibv_context, Close> context_;
  ProtectionDomain domain_;
  ibv_device_attr attributes_{};
  ibv_port_attr port_attributes_{};
  uint8_t port_ = 1;
  int wanted_gid_index_ = -1;  // any
  uint8_t gid_index_ = 0;
  ibv_gid gid_{};
  std::string device_name_;
  std::string name_;
};

}  // namespace droidspeak::verbs
