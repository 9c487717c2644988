// SPDX-License-Identifier: Apache-2.0
// Internal to UcxChannel: something that UCX works on, and what it needs until it is done.
#pragma once

#include <array>
#include <cstring>
#include <memory>
#include <vector>

#include "common/transport/ucx/am.h"
#include "common/transport/ucx/ucx_channel.h"

namespace droidspeak::ucx {

struct UcxChannel::Operation {
  enum class Kind { kSendControl, kPush, kRequestPull, kAnswerPull, kReceiveControl, kReceivePush, kReceivePull };

  Operation(UcxChannel* of, Kind what, uint64_t its_number) : channel(of), kind(what), number(its_number) {}

  template <typename Header>
  void SetHeader(const Header& header) {
    static_assert(sizeof(header) <= kMaxHeaderBytes);
    std::memcpy(header_bytes.data(), &header, sizeof(header));
    header_size = sizeof(header);
  }

  UcxChannel* const channel;
  const Kind kind;
  const uint64_t number;  // kPush: the user's token; else of the message, push or pull
  std::array<std::byte, kMaxHeaderBytes> header_bytes;
  size_t header_size = 0;
  ControlHeader control{};       // kReceiveControl
  std::vector<std::byte> bytes;  // of a control message
};

}  // namespace droidspeak::ucx
