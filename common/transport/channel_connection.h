// SPDX-License-Identifier: Apache-2.0
// What a user holds of a connection whose worker owns the rest of it, a channel, for longer.
#pragma once

#include <string>

#include "common/transport/transport.h"

namespace droidspeak {

// Goes when its user wants, the channel when nothing of it moves any more. A Channel has the calls of Connection,
// set_connection() and Detach(), which ends it without events; it outlives its handle.
template <typename Channel>
class ChannelConnection final : public Connection {
 public:
  explicit ChannelConnection(Channel* channel) : channel_(channel) { channel_->set_connection(this); }
  ~ChannelConnection() override { channel_->Detach(); }

  absl::Status Send(absl::Span<const std::byte> message) override { return channel_->Send(message); }
  absl::Status AnnounceRegion(uint32_t region, const MemoryRegion& memory) override {
    return channel_->AnnounceRegion(region, memory);
  }
  absl::Status WithdrawRegion(uint32_t region) override { return channel_->WithdrawRegion(region); }
  void Authorize() override { channel_->Authorize(); }
  absl::Status Push(const std::byte* source, const RemoteRange& to, uint64_t token) override {
    return channel_->Push(source, to, token);
  }
  absl::Status Pull(std::byte* destination, const RemoteRange& from, uint64_t token) override {
    return channel_->Pull(destination, from, token);
  }
  void Close() override { channel_->Close(); }
  std::string peer() const override { return channel_->peer(); }

 private:
  Channel* const channel_;
};

}  // namespace droidspeak
