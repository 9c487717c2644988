// SPDX-License-Identifier: Apache-2.0
#include "common/transport/verbs/introduction.h"

#include <arpa/inet.h>

#include <cstring>

#include "absl/strings/str_cat.h"
#include "common/transport/verbs/frame.h"

namespace droidspeak::verbs {

std::string Introduction::Encode() const {
  return std::string(reinterpret_cast<const char*>(this), sizeof(*this));
}

absl::StatusOr<Introduction> Introduction::Decode(std::string_view text) {
  Introduction introduction;
  const absl::Status wrong = absl::InvalidArgumentError("these are no parameters of a verbs connection");
  if (text.size() != sizeof(introduction)) return wrong;
  std::memcpy(&introduction, text.data(), text.size());
  const bool valid = introduction.magic == kMagic && introduction.mtu >= IBV_MTU_256 &&
                     introduction.mtu <= IBV_MTU_4096 && introduction.queue_pairs >= 1 &&
                     introduction.queue_pairs <= kMostQueuePairs && introduction.receives >= kLeastReceives &&
                     introduction.frame_bytes == kFrameBytes;
  return valid ? absl::StatusOr<Introduction>(introduction) : wrong;
}

std::string Introduction::Name() const {
  if (link_layer != IBV_LINK_LAYER_ETHERNET) return absl::StrCat("lid ", lid);
  static constexpr unsigned char kMapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  char text[INET6_ADDRSTRLEN] = {};
  if (std::memcmp(gid, kMapped, sizeof(kMapped)) == 0) {
    ::inet_ntop(AF_INET, gid + sizeof(kMapped), text, sizeof(text));
  } else {
    ::inet_ntop(AF_INET6, gid, text, sizeof(text));
  }
  return text;
}

}  // namespace droidspeak::verbs
