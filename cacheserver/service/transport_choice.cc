// SPDX-License-Identifier: Apache-2.0
#include "cacheserver/service/transport_choice.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/files.h"
#include "common/base/status.h"

namespace droidspeak {
namespace {

const OfferedTransport* FindOffer(const std::vector<OfferedTransport>& offers, const std::string& name) {
  const auto found =
      std::find_if(offers.begin(), offers.end(), [&name](const OfferedTransport& offer) { return offer.name == name; });
  return found == offers.end() ? nullptr : &*found;
}

// Empty if `transport` can be used.
std::string WhyNot(const ServedTransport& transport, const OfferedTransport* offer, bool same_host) {
  if (offer == nullptr) return "not offered by the client";
  if (transport.name == "local" && !same_host) return "client and server are on different hosts";
  if (offer->detail == transport.detail) return "";
  return absl::StrCat("the client has version ", offer->detail, ", the server ", transport.detail,
                      ", which don't understand each other");
}

}  // namespace

absl::StatusOr<TransportChoice> ChooseTransport(const ServedTransports& served, const std::string& client_host_id,
                                                const std::vector<OfferedTransport>& offers) {
  const bool same_host = !client_host_id.empty() && client_host_id == served.host_id;
  std::vector<std::string> reasons;
  for (const ServedTransport& transport : served.transports) {
    const std::string why_not = WhyNot(transport, FindOffer(offers, transport.name), same_host);
    if (!why_not.empty()) {
      reasons.push_back(absl::StrCat(transport.name, ": ", why_not));
      continue;
    }
    if (transport.name == "local") reasons.push_back("client and server are on the same host");
    if (!transport.detail.empty()) reasons.push_back(absl::StrCat("version ", transport.detail, " at both ends"));
    if (reasons.empty()) reasons.push_back("the first that both ends have");
    return TransportChoice{transport.name, transport.address, transport.encrypted, absl::StrJoin(reasons, "; ")};
  }
  for (const OfferedTransport& offer : offers) {
    const bool is_served = std::any_of(served.transports.begin(), served.transports.end(),
                                       [&offer](const ServedTransport& one) { return one.name == offer.name; });
    if (!is_served) reasons.push_back(absl::StrCat(offer.name, ": not served here"));
  }
  return absl::FailedPreconditionError(absl::StrCat("no transport in common: ", absl::StrJoin(reasons, "; ")));
}

absl::StatusOr<std::string> ReadHostId() {
  ASSIGN_OR_RETURN(std::string text, ReadFile("/proc/sys/kernel/random/boot_id", 64));
  return std::string(absl::StripAsciiWhitespace(text));
}

}  // namespace droidspeak
