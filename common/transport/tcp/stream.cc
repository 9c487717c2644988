// SPDX-License-Identifier: Apache-2.0
#include "common/transport/tcp/stream.h"

#include <algorithm>
#include <cstring>

#include "common/base/status.h"

namespace droidspeak::tcp {
namespace {

constexpr size_t kMaxPieces = 64;
// Read behind the rest of a large payload: the next header comes with it, and little of the next payload is copied
// twice.
constexpr size_t kBehindBytes = size_t{4} << 10;
constexpr uint64_t kLargeBytes = uint64_t{64} << 10;
// While a large payload arrives, the reader sleeps until there is so much of it. Waking for every segment costs up to
// a third of both ends' processor time (docs/transports.md has the figures).
constexpr uint64_t kLowWaterBytes = uint64_t{256} << 10;

iovec Piece(const void* start, uint64_t bytes) {
  return {const_cast<void*>(start), bytes};
}

}  // namespace

void Stream::Queue(const FrameHeader& header) {
  Add({header, {}, nullptr, 0, std::nullopt});
}

void Stream::Queue(const FrameHeader& header, absl::Span<const std::byte> payload) {
  Out out{header, {payload.begin(), payload.end()}, nullptr, payload.size(), std::nullopt};
  out.payload = out.owned.data();  // stays when the vector is moved
  Add(std::move(out));
}

void Stream::Queue(const FrameHeader& header, const std::byte* payload, std::optional<uint64_t> token) {
  Add({header, {}, payload, header.bytes, token});
}

void Stream::Add(Out out) {
  queued_bytes_ += out.bytes();
  held_bytes_ += out.held_bytes();
  queue_.push_back(std::move(out));
}

absl::StatusOr<uint64_t> Stream::Flush(std::vector<uint64_t>& sent, uint64_t most) {
  if (queue_.empty()) {
    if (socket_.WantsOutput(false)) RETURN_IF_ERROR(socket_.Write({}).status());
    return 0;
  }
  std::array<iovec, kMaxPieces> pieces;
  size_t count = 0;
  uint64_t offered = 0;
  uint64_t skip = front_sent_;
  for (auto out = queue_.begin(); out != queue_.end() && count + 2 <= kMaxPieces && offered < most; ++out) {
    const uint64_t of_header = std::min<uint64_t>(skip, sizeof(FrameHeader));
    const uint64_t of_payload = skip - of_header;
    if (of_header < sizeof(FrameHeader)) {
      pieces[count++] =
          Piece(reinterpret_cast<const std::byte*>(&out->header) + of_header, sizeof(FrameHeader) - of_header);
    }
    const uint64_t payload = std::min(out->payload_bytes - of_payload, most - offered);
    if (payload > 0) pieces[count++] = Piece(out->payload + of_payload, payload);
    offered += sizeof(FrameHeader) - of_header + payload;
    skip = 0;
  }
  ASSIGN_OR_RETURN(const size_t written, socket_.Write(absl::MakeConstSpan(pieces.data(), count)));
  Sent(written, sent);
  return written;
}

void Stream::Sent(uint64_t bytes, std::vector<uint64_t>& sent) {
  queued_bytes_ -= bytes;
  bytes += front_sent_;
  while (!queue_.empty() && bytes >= queue_.front().bytes()) {
    const Out& out = queue_.front();
    bytes -= out.bytes();
    held_bytes_ -= out.held_bytes();
    if (out.token) sent.push_back(*out.token);
    queue_.pop_front();
  }
  front_sent_ = bytes;
}

void Stream::DropQueue(std::vector<uint64_t>& dropped) {
  for (const Out& out : queue_) {
    if (out.token) dropped.push_back(*out.token);
  }
  queue_.clear();
  front_sent_ = 0;
  queued_bytes_ = 0;
  held_bytes_ = 0;
}

bool Stream::Uses(const std::byte* start, uint64_t bytes) const {
  const auto within = [=](const std::byte* place) { return place >= start && place < start + bytes; };
  return (place_ != nullptr && within(place_)) ||
         std::any_of(queue_.begin(), queue_.end(), [&](const Out& out) { return within(out.payload); });
}

absl::StatusOr<uint64_t> Stream::Receive(FrameSink& sink, absl::Span<std::byte> scratch, uint64_t most) {
  std::memcpy(scratch.data(), begun_.data(), begun_bytes_);
  size_t held = begun_bytes_;
  uint64_t received = 0;
  bool more = true;
  while (more && received < most && sink.WantsMore()) {
    ASSIGN_OR_RETURN(more, ReadOnce(scratch, most - received, held, received));
    if (place_ != nullptr && left_ == 0) {
      place_ = nullptr;
      RETURN_IF_ERROR(sink.OnFrame(*this, header_));
    }
    ASSIGN_OR_RETURN(const size_t taken, Parse(sink, scratch.subspan(0, held)));
    held -= taken;
    std::memmove(scratch.data(), scratch.data() + taken, held);
  }
  if (!sink.WantsMore()) return received;
  begun_bytes_ = held;  // less than a header
  std::memcpy(begun_.data(), scratch.data(), held);
  SetLowWaterMark();
  return received;
}

absl::StatusOr<bool> Stream::ReadOnce(absl::Span<std::byte> scratch, uint64_t most, size_t& held, uint64_t& received) {
  size_t behind = scratch.size() - held;
  if (left_ >= kLargeBytes) behind = std::min(behind, kBehindBytes);
  const uint64_t of_payload = std::min(left_, most);
  if (of_payload < left_) behind = 0;
  const std::array<iovec, 2> pieces = {Piece(place_, of_payload), Piece(scratch.data() + held, behind)};
  ASSIGN_OR_RETURN(const size_t got, socket_.Read(pieces));
  const uint64_t placed = std::min<uint64_t>(got, of_payload);
  if (place_ != nullptr) place_ += placed;
  left_ -= placed;
  held += got - placed;
  received += got;
  return got == of_payload + behind;
}

absl::StatusOr<size_t> Stream::Parse(FrameSink& sink, absl::Span<const std::byte> bytes) {
  size_t at = 0;
  while (place_ == nullptr && bytes.size() - at >= sizeof(FrameHeader) && sink.WantsMore()) {
    std::memcpy(&header_, bytes.data() + at, sizeof(header_));
    at += sizeof(header_);
    if (HasPayload(header_.type)) {
      if (header_.bytes == 0) return absl::InvalidArgumentError("a frame without its payload");
      ASSIGN_OR_RETURN(place_, sink.PlaceFor(*this, header_));
      const uint64_t here = std::min<uint64_t>(header_.bytes, bytes.size() - at);
      std::memcpy(place_, bytes.data() + at, here);
      at += here;
      place_ += here;
      left_ = header_.bytes - here;
      if (left_ > 0) break;
      place_ = nullptr;
    }
    RETURN_IF_ERROR(sink.OnFrame(*this, header_));
  }
  return at;
}

void Stream::SetLowWaterMark() {
  const size_t wanted = left_ < kLargeBytes ? 1 : std::min(left_ - socket_.held_back(), kLowWaterBytes);
  if (wanted == low_water_) return;
  low_water_ = wanted;
  SetLowWater(fd(), wanted);
}

}  // namespace droidspeak::tcp
