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

const OfferedTransport* FindOffer(const std::vector<OfferedTransport>& offers, const char* name) {
  const auto found =
      std::find_if(offers.begin(), offers.end(), [name](const OfferedTransport& offer) { return offer.name == name; });
  return found == offers.end() ? nullptr : &*found;
}

}  // namespace

absl::StatusOr<TransportChoice> ChooseTransport(const ServedTransports& served, const std::string& client_host_id,
                                                const std::vector<OfferedTransport>& offers) {
  const bool same_host = !client_host_id.empty() && client_host_id == served.host_id;
  std::vector<std::string> why_not;

  if (served.local_address.empty()) {
    why_not.push_back("local: not served here");
  } else if (FindOffer(offers, "local") == nullptr) {
    why_not.push_back("local: not offered by the client");
  } else if (!same_host) {
    why_not.push_back("local: client and server are on different hosts");
  } else {
    return TransportChoice{"local", served.local_address, "client and server are on the same host"};
  }

  const OfferedTransport* ucx = FindOffer(offers, "ucx");
  if (served.ucx_address.empty()) {
    why_not.push_back("ucx: not served here");
  } else if (ucx == nullptr) {
    why_not.push_back("ucx: not offered by the client");
  } else if (ucx->detail != served.ucx_version) {
    why_not.push_back(absl::StrCat("ucx: the client has version ", ucx->detail, ", the server ", served.ucx_version,
                                   ", which don't understand each other"));
  } else {
    return TransportChoice{"ucx", served.ucx_address,
                           absl::StrCat("UCX ", served.ucx_version, " at both ends; ", absl::StrJoin(why_not, "; "))};
  }
  return absl::FailedPreconditionError(absl::StrCat("no transport in common: ", absl::StrJoin(why_not, "; ")));
}

absl::StatusOr<std::string> ReadHostId() {
  ASSIGN_OR_RETURN(std::string text, ReadFile("/proc/sys/kernel/random/boot_id", 64));
  return std::string(absl::StripAsciiWhitespace(text));
}

}  // namespace droidspeak
