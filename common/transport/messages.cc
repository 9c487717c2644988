// SPDX-License-Identifier: Apache-2.0
#include "common/transport/messages.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/transport/codec.h"
#include "common/transport/transport.h"
#include "common/transport/wire.h"

namespace droidspeak::wire {
namespace {

// The alternatives of Message stand in the order of MessageType.
constexpr size_t kTypes = std::variant_size_v<Message>;
static_assert(kTypes == static_cast<size_t>(MessageType::kStatusAnswer));

template <MessageType type, typename T>
constexpr bool IsType = std::is_same_v<std::variant_alternative_t<static_cast<size_t>(type) - 1, Message>, T>;
static_assert(IsType<MessageType::kClientHello, ClientHello> && IsType<MessageType::kHelloDone, HelloDone> &&
              IsType<MessageType::kCoverageRequest, CoverageRequest> && IsType<MessageType::kFetchDone, FetchDone> &&
              IsType<MessageType::kFillRequest, FillRequest> && IsType<MessageType::kCancelled, Cancelled>);

template <typename T>
constexpr bool kHasRequestId = requires(T message) { message.request_id; };

using Decoder = absl::StatusOr<Message> (*)(const Header& header, Reader in);

template <size_t index>
absl::StatusOr<Message> DecodeBody(const Header& header, Reader in) {
  using T = std::variant_alternative_t<index, Message>;
  T message{};
  if constexpr (kHasRequestId<T>) {
    message.request_id = header.request_id;
  } else if (header.request_id != 0) {
    return absl::InvalidArgumentError(absl::StrCat("message of type ", header.type, " with a request id"));
  }
  if (!Get(in, message) || !in.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("malformed message of type ", header.type));
  }
  return Message(std::move(message));
}

template <size_t... indices>
constexpr std::array<Decoder, kTypes> Decoders(std::index_sequence<indices...>) {
  return {&DecodeBody<indices>...};
}

}  // namespace

std::vector<std::byte> Encode(const Message& message) {
  Writer out;
  Header header{kMagic, kVersion, static_cast<uint16_t>(message.index() + 1), 0, 0, 0};
  std::visit(
      [&](const auto& m) {
        if constexpr (kHasRequestId<std::decay_t<decltype(m)>>) header.request_id = m.request_id;
        out.Struct(header);
        Put(out, m);
      },
      message);
  std::vector<std::byte>& bytes = out.bytes();
  DROIDSPEAK_CHECK(bytes.size() <= kMaxMessageBytes);
  header.bytes = static_cast<uint32_t>(bytes.size());
  std::memcpy(bytes.data(), &header, sizeof(header));
  return std::move(bytes);
}

absl::StatusOr<Message> Decode(absl::Span<const std::byte> bytes) {
  static constexpr std::array<Decoder, kTypes> kDecoders = Decoders(std::make_index_sequence<kTypes>());
  if (bytes.size() > kMaxMessageBytes) return absl::InvalidArgumentError("message above the limit");
  Reader in(bytes);
  Header header;
  if (!in.Struct(header)) return absl::InvalidArgumentError("message shorter than its header");
  if (header.magic != kMagic) return absl::InvalidArgumentError("not a DroidSpeak message (wrong magic)");
  if (header.version != kVersion) {
    return absl::InvalidArgumentError(
        absl::StrCat("message of version ", header.version, ", this end speaks ", kVersion));
  }
  if (header.bytes != bytes.size()) {
    return absl::InvalidArgumentError(absl::StrCat("message of ", bytes.size(), " bytes says ", header.bytes));
  }
  if (header.reserved != 0) return absl::InvalidArgumentError("reserved field in use");
  if (header.type == 0 || header.type > kTypes) {
    return absl::InvalidArgumentError(absl::StrCat("unknown message type ", header.type));
  }
  return kDecoders[header.type - 1](header, in);
}

}  // namespace droidspeak::wire
