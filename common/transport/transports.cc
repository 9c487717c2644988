// SPDX-License-Identifier: Apache-2.0
// The transports that this build has.
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/text.h"
#include "common/transport/local/local_transport.h"
#include "common/transport/tcp/tcp_transport.h"
#include "common/transport/transport.h"
#include "common/transport/ucx/ucx_transport.h"
#include "common/transport/verbs/verbs_transport.h"

namespace droidspeak {

absl::Span<const Transport* const> AllTransports() {
  static const LocalTransport local;
  static const VerbsTransport verbs;
  static const TcpTransport tcp;
  static const UcxTransport ucx;
  static const Transport* const kAll[] = {&local, &verbs, &tcp, &ucx};
  return kAll;
}

std::vector<std::string> TransportNames() {
  std::vector<std::string> names;
  for (const Transport* transport : AllTransports()) names.emplace_back(transport->name());
  return names;
}

absl::StatusOr<const Transport*> FindTransport(std::string_view name) {
  for (const Transport* transport : AllTransports()) {
    if (name == transport->name()) return transport;
  }
  return absl::NotFoundError(
      absl::StrCat("no transport \"", ToAbsl(name), "\"; there are ", absl::StrJoin(TransportNames(), ", ")));
}

}  // namespace droidspeak
