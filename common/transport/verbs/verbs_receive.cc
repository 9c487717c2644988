// SPDX-License-Identifier: Apache-2.0
// What a channel receives. Nothing in it is trusted.
#include <cstring>

#include "absl/strings/str_cat.h"
#include "common/base/status.h"
#include "common/transport/verbs/verbs_channel.h"
#include "common/transport/verbs/verbs_worker.h"

namespace droidspeak::verbs {
namespace {

template <typename T>
bool Take(absl::Span<const std::byte> payload, T* value) {
  if (payload.size() != sizeof(*value)) return false;
  std::memcpy(value, payload.data(), sizeof(*value));
  return true;
}

}  // namespace

absl::Status VerbsChannel::PostReceive(uint32_t slot) {
  return queues_[0].Receive(worker_.ReceiveId(id_, slot), frames_.data() + size_t{slot} * kFrameBytes, kFrameBytes,
                            frames_registration_->lkey);
}

void VerbsChannel::OnReceived(uint32_t slot, uint32_t bytes) {
  if (!alive()) return;
  const std::byte* const memory = frames_.data() + size_t{slot} * kFrameBytes;
  FrameHeader header{};
  if (bytes >= sizeof(header)) std::memcpy(&header, memory, sizeof(header));
  if (bytes < sizeof(header) || header.bytes != bytes - sizeof(header)) {
    return End(absl::InvalidArgumentError("a frame of a wrong length"), true);
  }
  if (owed_ >= kReceives) return End(absl::InvalidArgumentError("a frame beyond the credit that was given"), true);
  credit_ += header.credit;
  if (credit_ > UINT16_MAX) return End(absl::InvalidArgumentError("more credit than there can be"), true);
  const absl::Status handled = OnFrame(header, {memory + sizeof(header), header.bytes});
  if (!handled.ok()) return End(handled, true);
  if (!alive()) return;  // the handler closed it
  if (const absl::Status posted = PostReceive(slot); !posted.ok()) {
    return End(absl::UnavailableError(posted.message()), true);
  }
  ++owed_;
  worker_.GiveTurn(this);
}

absl::Status VerbsChannel::OnFrame(const FrameHeader& header, absl::Span<const std::byte> payload) {
  if ((header.type == FrameType::kOpen) != (state_ == State::kConnecting)) {
    return absl::InvalidArgumentError("a connection that does not begin with its opening");
  }
  switch (header.type) {
    case FrameType::kOpen:
      state_ = State::kOpen;  // a server's: a client is open before it receives
      return absl::OkStatus();
    case FrameType::kMessage:
      return OnMessagePart(header.last != 0, payload);
    case FrameType::kAnnounce:
      return OnAnnounce(payload);
    case FrameType::kWithdraw:
      return OnWithdraw(payload);
    case FrameType::kCredit:
      return absl::OkStatus();
    case FrameType::kGoodbye:
      End(absl::UnavailableError("the peer closed the connection"), false);
      return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat("a frame of type ", static_cast<int>(header.type), " out of place"));
}

// What was pushed has arrived, but what went into a device's memory may not have reached it yet.
void VerbsChannel::Flush() {
  void (*last)() = nullptr;  // regions of one kind of device have the same
  for (const auto& [region, announced] : announced_) {
    if (announced.flush == nullptr || announced.flush == last) continue;
    last = announced.flush;
    last();
  }
}

void VerbsChannel::TellMessage(absl::Span<const std::byte> message) {
  Flush();
  if (events_ != nullptr) events_->OnMessage(*connection_, message);
}

absl::Status VerbsChannel::OnMessagePart(bool last, absl::Span<const std::byte> part) {
  if (part.empty() || message_.size() + part.size() > kMaxMessageBytes) {
    return absl::InvalidArgumentError("a message that is empty or too long");
  }
  if (last && message_.empty()) {
    TellMessage(part);
    return absl::OkStatus();
  }
  message_.insert(message_.end(), part.begin(), part.end());
  if (!last) return absl::OkStatus();
  const std::vector<std::byte> whole = std::exchange(message_, {});
  TellMessage(whole);
  return absl::OkStatus();
}

absl::Status VerbsChannel::OnAnnounce(absl::Span<const std::byte> payload) {
  if (role_ != Role::kServer) return absl::InvalidArgumentError("a server announced a region");
  if (!authorized_) return absl::PermissionDeniedError("a region was announced before the hello");
  AnnouncePayload announce{};
  if (!Take(payload, &announce) || announce.address + announce.bytes < announce.address) {
    return absl::InvalidArgumentError("a malformed announcement");
  }
  // An address of the client's: whether it has memory there is for its own device to tell.
  RETURN_IF_ERROR(regions_.Add(announce.region, {reinterpret_cast<std::byte*>(announce.address), announce.bytes}));
  remote_keys_[announce.region] = announce.key;
  return absl::OkStatus();
}

absl::Status VerbsChannel::OnWithdraw(absl::Span<const std::byte> payload) {
  if (role_ != Role::kServer) return absl::InvalidArgumentError("a server withdrew a region");
  WithdrawPayload withdraw{};
  if (!Take(payload, &withdraw)) return absl::InvalidArgumentError("a malformed withdrawal");
  if (!regions_.Remove(withdraw.region).ok()) return absl::InvalidArgumentError("a region that was not announced");
  remote_keys_.erase(withdraw.region);
  return absl::OkStatus();
}

}  // namespace droidspeak::verbs
