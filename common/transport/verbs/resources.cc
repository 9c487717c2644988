// SPDX-License-Identifier: Apache-2.0
#include "common/transport/verbs/resources.h"

#include <sys/resource.h>

#include "absl/strings/str_cat.h"
#include "common/base/status.h"

namespace droidspeak::verbs {

absl::StatusOr<Registration> RegisterMemory(ibv_pd* domain, const std::byte* base, uint64_t bytes, int access) {
  Registration registration;
  ibv_mr* const made = ibv_reg_mr(domain, const_cast<std::byte*>(base), bytes, access);
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
