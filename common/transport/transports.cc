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

absl::StatusOr<const Transport*> FindTransport(std::string_view name) {
  for (const Transport* transport : AllTransports()) {
    if (name == transport->name()) return transport;
  }
  const std::string all = absl::StrJoin(AllTransports(), ", ", [](std::string* text, const Transport* transport) {
    *text += transport->name();
  });
  return absl::NotFoundError(absl::StrCat("no transport \"", ToAbsl(name), "\"; there are ", all));
}

}  // namespace droidspeak
