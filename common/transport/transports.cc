// SPDX-License-Identifier: Apache-2.0
// The transports that this build has.
#include "absl/strings/str_cat.h"
#include "common/base/text.h"
#include "common/transport/local/local_transport.h"
#include "common/transport/transport.h"
#include "common/transport/ucx/ucx_transport.h"

namespace droidspeak {

absl::StatusOr<const Transport*> FindTransport(std::string_view name) {
  static const LocalTransport local;
  static const UcxTransport ucx;
  if (name == local.name()) return &local;
  if (name == ucx.name()) return &ucx;
  return absl::NotFoundError(absl::StrCat("no transport \"", ToAbsl(name), "\"; there are local and ucx"));
}

}  // namespace droidspeak
