#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs what is missing for building and running DroidSpeak on Debian 12. Says nothing when nothing is missing.
#
#   setup.sh          packages, Rust, libtorch
#   setup.sh lint     what ./dev lint needs
#   setup.sh bench    what ./dev bench compares with
#   setup.sh soak     what ./dev soak needs
#   setup.sh rdma     what ./dev rdma-test needs
#   setup.sh peers    the other caches that ./dev bench peers compares with (6.4 GB)
#   setup.sh transformers   what ./dev bench engine compares with (4.7 GB)
#   setup.sh openai  the client that tests of the served API use (60 MB)
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${DROIDSPEAK_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/droidspeak}
rust_minimum=1.80

say() { echo "setup: $*" >&2; }
die() { echo "setup: $*" >&2; exit 1; }

as_root() {
  if ((EUID == 0)); then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo "$@"
  else
    die "needs root to run '$*', and there is no sudo: run it as root, then start again"
  fi
}

# The packages of `$@` that are not installed.
missing_packages() {
  local package
  for package in "$@"; do
    [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || echo "$package"
  done
}

install_packages() {
  local missing log
  mapfile -t missing < <(missing_packages "$@")
  ((${#missing[@]})) || return 0
  say "installing Debian packages: ${missing[*]}"
  log=$(mktemp)
  if ! { as_root apt-get update -qq && as_root env DEBIAN_FRONTEND=noninteractive \
      apt-get install -y -qq --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
    tail -n 15 "$log" >&2
    die "apt-get failed (all of its output: $log). Check the network and /etc/apt/sources.list.d, then start again"
  fi
  rm -f "$log"
}

packages_of() { sed -e 's/#.*//' -e '/^ *$/d' "$here/$1"; }

setup_packages() {
  if ! command -v dpkg-query >/dev/null; then
    say "this is no Debian: install the counterparts of ${here#"$PWD"/}/packages.txt yourself; going on"
    return
  fi
  local packages
  mapfile -t packages < <(packages_of "$1")
  install_packages "${packages[@]}"
}

rust_version() { "$1" --version 2>/dev/null | sed -n 's/^cargo \([0-9.]*\).*/\1/p'; }

# Any cargo from 1.80 on; Debian's own `cargo` is older, its `cargo-web` is not.
setup_rust() {
  local cargo version
  for cargo in cargo "$HOME/.cargo/bin/cargo"; do
    version=$(rust_version "$cargo" || true)
    [[ $version && $(printf '%s\n' "$rust_minimum" "$version" | sort -V | head -n 1) == "$rust_minimum" ]] && return
  done
  command -v dpkg-query >/dev/null || die "needs cargo $rust_minimum or newer: install it from https://rustup.rs"
  [[ $version ]] && say "cargo $version is older than $rust_minimum"
  install_packages rustc-web cargo-web
}

# A Python that has pip, for fetching only.
python_with_pip() {
  local python
  for python in python3 /usr/bin/python3; do
    "$python" -m pip --version >/dev/null 2>&1 && { echo "$python"; return; }
  done
  install_packages python3-pip
  echo /usr/bin/python3
}

# libtorch, unpacked to $cache/deps. The stamp names the list of wheels and the selection that it was made from.
setup_wheels() {
  local stamp python
  stamp=$(cat "$here/wheels.txt" "$here/unpack_wheels.py" | sha256sum | cut -d ' ' -f 1)
  mkdir -p "$cache"
  exec 9>"$cache/lock"
  flock 9 # another setup at the same time
  [[ -e $cache/deps/.stamp && $(<"$cache/deps/.stamp") == "$stamp" ]] && return
  python=$(python_with_pip)
  new=$(mktemp -d "$cache/new.XXXXXX") # not local: the trap outlives the function
  trap 'rm -rf "$new"' EXIT
  say "fetching libtorch (540 MB) to $cache/deps"
  "$python" -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: --require-hashes \
    --python-version 3.11 --implementation cp --abi cp311 --platform manylinux_2_28_x86_64 \
    --platform manylinux_2_25_x86_64 --platform manylinux2014_x86_64 --platform manylinux_2_17_x86_64 \
    --dest "$new/wheels" --requirement "$here/wheels.txt" >&2 ||
    die "pip could not fetch the wheels of $here/wheels.txt. Check the network and pip's index, then start again"
  "$python" "$here/unpack_wheels.py" "$new/wheels" "$new/deps" >/dev/null ||
    die "the wheels could not be unpacked to $cache. Is there 1 GB of free space?"
  echo "$stamp" >"$new/deps/.stamp"
  rm -rf "$cache/deps.old"
  [[ ! -e $cache/deps ]] || mv "$cache/deps" "$cache/deps.old"
  mv "$new/deps" "$cache/deps"
  rm -rf "$cache/deps.old"
}

# setup_environment NAME LIST SIZE: what the list names, in a virtual environment, $cache/NAME.
setup_environment() {
  local environment=$cache/$1 list=$here/../../$2 size=$3 stamp
  stamp=$(sha256sum <"$list" | cut -d ' ' -f 1)
  mkdir -p "$cache"
  exec 9>"$cache/lock"
  flock 9 # another setup at the same time
  [[ -e $environment/.stamp && $(<"$environment/.stamp") == "$stamp" ]] && return
  say "fetching what $list names and what that needs ($size) to $environment"
  rm -rf "$environment"
  # A virtual environment knows its own path: made in place, whole only with its stamp.
  { /usr/bin/python3 -m venv "$environment" &&
    "$environment/bin/pip" install --quiet --disable-pip-version-check --only-binary=:all: --requirement "$list" >&2; } ||
    die "pip could not install $list. Check the network, pip's index and the disk, then start again"
  echo "$stamp" >"$environment/.stamp"
}

case ${1-all} in
  all)
    [[ $(uname -m) == x86_64 ]] || die "needs an x86-64 machine, this is $(uname -m)"
    setup_packages packages.txt
    setup_rust
    setup_wheels
    ;;
  lint | bench | soak | rdma) setup_packages "packages-$1.txt" ;;
  peers)
    setup_packages packages-peers.txt
    setup_environment peers bench/peers/requirements.txt "6.4 GB"
    ;;
  transformers)
    setup_packages packages-venv.txt
    setup_environment transformers bench/engine/requirements.txt "4.7 GB"
    ;;
  openai)
    setup_packages packages-venv.txt
    setup_environment openai tests/engine/commands/requirements-openai.txt "60 MB"
    ;;
  *) die "unknown argument '$1', expected nothing, lint, bench, soak, rdma, peers, transformers or openai" ;;
esac
