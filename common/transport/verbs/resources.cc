// SPDX-License-Identifier: Apache-2.0
#include "common/transport/verbs/resources.h"

#include <fcntl.h>
#include <sys/resource.h>

#include "absl/strings/str_cat.h"
#include "common/base/status.h"
#include "common/base/text.h"

namespace droidspeak::verbs {

absl::Status MakeNonBlocking(int fd) {
  const int flags = ::fcntl(fd, F_GETFL);
  if (flags >= 0 && ::fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0) return absl::OkStatus();
  return ErrnoStatus(errno, "setting up an RDMA device");
}

namespace {

absl::StatusOr<Registration> RegisterDeviceMemory(ibv_pd* domain, const MemoryRegion& memory, int access) {
  Registration registration;
  ibv_mr* const made = ibv_reg_dmabuf_mr(domain, memory.device->offset, memory.bytes,
                                         reinterpret_cast<uint64_t>(memory.base), memory.device->dma_buf, access);
  const int error = errno;
  const std::string_view device = ibv_get_device_name(domain->context->device);
  if (made == nullptr && (error == EOPNOTSUPP || error == ENOSYS)) {
    return absl::UnimplementedError(absl::StrCat(ToAbsl(device),
                                                 ", or its driver, does not reach the memory of other "
                                                 "devices (dma-buf); expected one that does, or host memory"));
  }
  errno = error;
  RETURN_IF_ERROR(
      Take(made, absl::StrCat("registering ", memory.bytes, " bytes of a device with ", ToAbsl(device)), registration));
  return registration;
}

}  // namespace

absl::StatusOr<Registration> RegisterMemory(ibv_pd* domain, const MemoryRegion& memory, int access) {
  if (memory.device.has_value()) return RegisterDeviceMemory(domain, memory, access);
  Registration registration;
  const uint64_t bytes = memory.bytes;
  ibv_mr* const made = ibv_reg_mr(domain, memory.base, bytes, access);
  const int error = errno;
  const std::string what = absl::StrCat("registering ", bytes, " bytes with the RDMA device");
  if (made != nullptr || (error != ENOMEM && error != EPERM)) {
    errno = error;
    RETURN_IF_ERROR(Take(made, what, registration));
    return registration;
  }
  rlimit limit{};
  ::getrlimit(RLIMIT_MEMLOCK, &limit);
  if (limit.rlim_cur == RLIM_INFINITY) {
    return absl::ResourceExhaustedError(absl::StrCat(what, ": out of memory, or of what the device can map"));
  }
  return absl::ResourceExhaustedError(absl::StrCat(what, ": this process may lock ", limit.rlim_cur,
                                                   " bytes (ulimit -l); expected at least ", bytes,
                                                   " beside what is locked already, best unlimited"));
}

}  // namespace droidspeak::verbs
