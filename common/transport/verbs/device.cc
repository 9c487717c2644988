// SPDX-License-Identifier: Apache-2.0
#include "common/transport/verbs/device.h"

#include <errno.h>
#include <netinet/in.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/files.h"
#include "common/base/status.h"

namespace droidspeak::verbs {
namespace {

constexpr int kAny = -1;
constexpr size_t kMostGids = 256;

struct Wanted {
  std::string device;  // empty: any
  int port = kAny;
  int gid_index = kAny;
};

absl::StatusOr<Wanted> Parse(const std::string& text) {
  Wanted wanted;
  if (text.empty()) return wanted;
  const std::vector<std::string> parts = absl::StrSplit(text, ':');
  wanted.device = parts[0];
  const bool valid = parts.size() <= 3 && !parts[0].empty() &&
                     (parts.size() < 2 || (absl::SimpleAtoi(parts[1], &wanted.port) && wanted.port > 0)) &&
                     (parts.size() < 3 || (absl::SimpleAtoi(parts[2], &wanted.gid_index) && wanted.gid_index >= 0));
  if (valid && wanted.port < 256 && wanted.gid_index < 256) return wanted;
  return absl::InvalidArgumentError(
      absl::StrCat(kDeviceVariable, "=", text, ": expected DEVICE[:PORT[:GID_INDEX]], as in mlx5_0:1:3"));
}

// The better the larger; 0 for one that cannot be used. RoCE v1 does not cross routers, and its peers would have to
// agree on it.
int RankOf(const ibv_gid_entry& entry) {
  if (entry.gid_type != IBV_GID_TYPE_ROCE_V2) return 0;
  in6_addr address;
  std::memcpy(&address, &entry.gid, sizeof(address));
  if (IN6_IS_ADDR_V4MAPPED(&address)) return 3;
  return IN6_IS_ADDR_LINKLOCAL(&address) ? 1 : 2;
}

}  // namespace

double Device::gigabits() const {
  // The values are those of InfiniBand's PortInfo.
  constexpr std::array<std::pair<int, double>, 9> kLane = {
      {{1, 2.5}, {2, 5}, {4, 10}, {8, 10}, {16, 14}, {32, 25}, {64, 50}, {128, 100}, {256, 200}}};
  constexpr std::array<std::pair<int, int>, 5> kLanes = {{{1, 1}, {2, 4}, {4, 8}, {8, 12}, {16, 2}}};
  double lane = 0;
  int lanes = 1;
  for (const auto& [code, speed] : kLane) lane = port_attributes_.active_speed == code ? speed : lane;
  for (const auto& [code, count] : kLanes) lanes = port_attributes_.active_width == code ? count : lanes;
  return lane * lanes;
}

absl::StatusOr<std::shared_ptr<Device>> Device::Open() {
  const char* const which = std::getenv(kDeviceVariable);
  return Open(which == nullptr ? "" : which);
}

absl::StatusOr<std::shared_ptr<Device>> Device::Open(const std::string& which) {
  ASSIGN_OR_RETURN(const Wanted wanted, Parse(which));
  // Engines may fork: older kernels would then give pages that the device writes to the child.
  static const int fork_error = ibv_fork_init();
  if (fork_error != 0) return ErrnoStatus(fork_error, "preparing libibverbs for fork()");
  int count = 0;
  const std::unique_ptr<ibv_device*, decltype(&ibv_free_device_list)> list(ibv_get_device_list(&count),
                                                                           &ibv_free_device_list);
  absl::Status why = absl::NotFoundError("there is no RDMA device");
  if (count > 0 && !wanted.device.empty()) {
    why = absl::NotFoundError(absl::StrCat("there is no RDMA device ", wanted.device, "; there is ",
                                           ibv_get_device_name(list.get()[0]), count > 1 ? " and more" : ""));
  }
  bool first = true;
  for (int i = 0; i < count; ++i) {
    ibv_device* const candidate = list.get()[i];
    if (!wanted.device.empty() && wanted.device != ibv_get_device_name(candidate)) continue;
    std::shared_ptr<Device> device(new Device());
    absl::Status used = device->Use(candidate, wanted.port, wanted.gid_index);
    if (used.ok()) return device;
    if (std::exchange(first, false)) why = std::move(used);
  }
  return why;
}

absl::Status Device::Use(ibv_device* device, int port, int gid_index) {
  device_name_ = ibv_get_device_name(device);
  wanted_gid_index_ = gid_index;
  context_.reset(ibv_open_device(device));
  if (context_ == nullptr) return ErrnoStatus(errno, absl::StrCat("opening the RDMA device ", device_name_));
  RETURN_IF_ERROR(Annotate(MakeNonBlocking(context_->async_fd), device_name_));
  if (const int error = ibv_query_device(context_.get(), &attributes_); error != 0) {
    return ErrnoStatus(error, absl::StrCat("asking the RDMA device ", device_name_));
  }
  absl::Status why = absl::NotFoundError(absl::StrCat("the RDMA device ", device_name_, " has no port ", port));
  for (int candidate = 1; candidate <= attributes_.phys_port_cnt; ++candidate) {
    if (port != kAny && port != candidate) continue;
    why = LookAtPort(candidate);
    if (why.ok()) break;
  }
  RETURN_IF_ERROR(why);
  return Take(ibv_alloc_pd(context_.get()), absl::StrCat("making a protection domain of ", device_name_), domain_);
}

absl::Status Device::LookAgain() {
  return LookAtPort(port_);
}

absl::Status Device::LookAtPort(int port) {
  if (const int error = ibv_query_port(context_.get(), port, &port_attributes_); error != 0) {
    return ErrnoStatus(error, absl::StrCat("asking port ", port, " of ", device_name_));
  }
  if (port_attributes_.state != IBV_PORT_ACTIVE) {
    return absl::UnavailableError(absl::StrCat("port ", port, " of the RDMA device ", device_name_, " is ",
                                               ibv_port_state_str(port_attributes_.state), "; expected PORT_ACTIVE"));
  }
  port_ = static_cast<uint8_t>(port);
  name_ = absl::StrCat(device_name_, ":", port_);
  RETURN_IF_ERROR(ChooseGid());
  absl::StrAppend(&name_, ":", gid_index_);
  return absl::OkStatus();
}

absl::Status Device::ChooseGid() {
  const int wanted = wanted_gid_index_;
  std::vector<ibv_gid_entry> entries(kMostGids);
  const ssize_t count = ibv_query_gid_table(context_.get(), entries.data(), entries.size(), 0);
  if (count < 0) return ErrnoStatus(static_cast<int>(-count), absl::StrCat("reading the addresses of ", name_));
  entries.resize(count);
  const ibv_gid_entry* best = nullptr;
  for (const ibv_gid_entry& entry : entries) {
    if (entry.port_num != port_) continue;
    if (wanted != kAny) {
      if (entry.gid_index == static_cast<uint32_t>(wanted)) best = &entry;
    } else if (!is_ethernet()) {
      if (best == nullptr) best = &entry;  // the port's own
    } else if (RankOf(entry) > (best == nullptr ? 0 : RankOf(*best))) {
      best = &entry;
    }
  }
  if (best != nullptr && best->gid_index < 256) {
    gid_ = best->gid;
    gid_index_ = static_cast<uint8_t>(best->gid_index);
    return absl::OkStatus();
  }
  if (wanted != kAny) {
    return absl::FailedPreconditionError(absl::StrCat("port ", name_, " has no GID ", wanted, "; see show_gids"));
  }
  if (!is_ethernet()) return absl::OkStatus();  // reached by its LID
  return absl::FailedPreconditionError(
      absl::StrCat("port ", name_, " has no GID of RoCE v2: give its network interface an IP address"));
}

absl::Status Device::Check() const {
  ibv_port_attr now{};
  if (const int error = ibv_query_port(context_.get(), port_, &now); error != 0) {
    return absl::UnavailableError(absl::StrCat("the RDMA device ", name_, " does not answer"));
  }
  if (now.state != IBV_PORT_ACTIVE) {
    return absl::UnavailableError(absl::StrCat("port ", name_, " is ", ibv_port_state_str(now.state)));
  }
  ibv_gid gid{};
  const bool same_gid = !is_ethernet() || (ibv_query_gid(context_.get(), port_, gid_index_, &gid) == 0 &&
                                           std::memcmp(&gid, &gid_, sizeof(gid)) == 0);
  if (!same_gid) return absl::UnavailableError(absl::StrCat("the address of port ", name_, " has changed"));
  if (!is_ethernet() && now.lid != port_attributes_.lid) {
    return absl::UnavailableError(absl::StrCat("the LID of port ", name_, " has changed"));
  }
  return absl::OkStatus();
}

}  // namespace droidspeak::verbs
