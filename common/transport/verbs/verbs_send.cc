// SPDX-License-Identifier: Apache-2.0
// What a channel sends: frames and the pieces of transfers.
#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/status.h"
#include "common/transport/verbs/verbs_channel.h"
#include "common/transport/verbs/verbs_worker.h"

namespace droidspeak::verbs {
namespace {

// Of a transfer in one work request: enough for the full speed of a link, little enough that others have their turn.
constexpr uint64_t kPieceBytes = uint64_t{1} << 20;
// The last credit is for giving credit: two ends that have used up all of theirs would wait for each other.
constexpr uint32_t kReservedCredit = 1;
constexpr uint32_t kOweAtMost = kReceives / 2;
// A connection on which nothing was sent for so long sends something, so that a dead peer is noticed.
constexpr absl::Duration kSilence = absl::Seconds(1);

template <typename T>
absl::Span<const std::byte> BytesOf(const T& value) {
  return {reinterpret_cast<const std::byte*>(&value), sizeof(value)};
}

}  // namespace

absl::Status VerbsChannel::CheckOpen() const {
  if (alive()) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat("connection to ", peer_, " is closed"));
}

absl::Status VerbsChannel::Send(absl::Span<const std::byte> message) {
  if (message.empty() || message.size() > kMaxMessageBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("a message of ", message.size(), " bytes; 1 to ", kMaxMessageBytes, " are expected"));
  }
  return Queue(FrameType::kMessage, message);
}

absl::Status VerbsChannel::AnnounceRegion(uint32_t region, const MemoryRegion& memory) {
  if (role_ != Role::kClient) return absl::FailedPreconditionError("only clients announce regions");
  RETURN_IF_ERROR(CheckOpen());
  RETURN_IF_ERROR(regions_.Add(region, {memory.base, memory.bytes}));
  absl::StatusOr<Registration> registration = RegisterMemory(
      own_domain_.get(), memory, IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_READ);
  absl::Status announced = registration.status();
  if (announced.ok()) {
    announced = Queue(
        FrameType::kAnnounce,
        BytesOf(AnnouncePayload{region, (*registration)->rkey, reinterpret_cast<uint64_t>(memory.base), memory.bytes}));
  }
  if (!announced.ok()) {
    regions_.Remove(region).IgnoreError();
    return announced;
  }
  announced_[region] = {*std::move(registration), FlushOf(memory)};
  return absl::OkStatus();
}

absl::Status VerbsChannel::WithdrawRegion(uint32_t region) {
  if (role_ != Role::kClient) return absl::FailedPreconditionError("only clients withdraw regions");
  RETURN_IF_ERROR(regions_.Remove(region).status());
  Flush();  // of what was pushed there, the next message may tell
  announced_.erase(region);
  return Queue(FrameType::kWithdraw, BytesOf(WithdrawPayload{region}));
}

absl::Status VerbsChannel::Push(const std::byte* source, const RemoteRange& to, uint64_t token) {
  return StartTransfer(IBV_WR_RDMA_WRITE, const_cast<std::byte*>(source), to, token);
}

absl::Status VerbsChannel::Pull(std::byte* destination, const RemoteRange& from, uint64_t token) {
  return StartTransfer(IBV_WR_RDMA_READ, destination, from, token);
}

absl::Status VerbsChannel::StartTransfer(ibv_wr_opcode opcode, std::byte* local, const RemoteRange& range,
                                         uint64_t token) {
  if (role_ != Role::kServer) return absl::FailedPreconditionError("only servers push and pull");
  RETURN_IF_ERROR(CheckOpen());
  ASSIGN_OR_RETURN(const std::byte* const remote, regions_.Find(range));
  Transfer transfer{};
  transfer.opcode = opcode;
  transfer.local = local;
  transfer.remote = reinterpret_cast<uint64_t>(remote);
  transfer.remote_key = remote_keys_[range.region];
  transfer.bytes = range.bytes;
  transfer.token = token;
  if (const auto registered = worker_.FindLocal(local, range.bytes); registered.has_value()) {
    transfer.local_key = registered->key;
    transfer.flush = opcode == IBV_WR_RDMA_READ ? registered->flush : nullptr;
  } else {
    ASSIGN_OR_RETURN(transfer.own, RegisterMemory(device_->domain(), {local, range.bytes},
                                                  opcode == IBV_WR_RDMA_READ ? IBV_ACCESS_LOCAL_WRITE : 0));
    transfer.local_key = transfer.own->lkey;
  }
  if (opcode == IBV_WR_RDMA_WRITE) transfer.push_number = pushes_started_++;
  transfers_.emplace(transfers_started_++, std::move(transfer));
  worker_.GiveTurn(this);
  return absl::OkStatus();
}

absl::Status VerbsChannel::Queue(FrameType type, absl::Span<const std::byte> bytes) {
  RETURN_IF_ERROR(CheckOpen());
  if (queued_bytes_ + bytes.size() > kMaxQueuedBytes) {
    return absl::ResourceExhaustedError(absl::StrCat(peer_, " does not read: too much is queued for it"));
  }
  queued_bytes_ += bytes.size();
  queued_.push_back({type, pushes_started_, {bytes.begin(), bytes.end()}});
  worker_.GiveTurn(this);
  return absl::OkStatus();
}

// All pushes before it are ahead of it on its queue pair, or have ended.
bool VerbsChannel::MayPost(const QueuedFrame& frame) const {
  if (queues_.size() > 1) return pushes_ended_.below() >= frame.pushes_before;
  return pushes_posted_ >= frame.pushes_before;
}

void VerbsChannel::AddFrame(FrameType type, bool last, absl::Span<const std::byte> bytes) {
  const uint32_t slot = kReceives + frames_sent_++ % kSends;
  std::byte* const memory = frames_.data() + size_t{slot} * kFrameBytes;
  const FrameHeader header{type, last, static_cast<uint16_t>(std::exchange(owed_, 0)),
                           static_cast<uint32_t>(bytes.size())};
  std::memcpy(memory, &header, sizeof(header));
  if (!bytes.empty()) std::memcpy(memory + sizeof(header), bytes.data(), bytes.size());
  --credit_;
  const ibv_sge place{reinterpret_cast<uint64_t>(memory), static_cast<uint32_t>(sizeof(header) + bytes.size()),
                      frames_registration_->lkey};
  queues_[0].Add({Posted::kFrame}, IBV_WR_SEND, place);
}

int VerbsChannel::AddFrames() {
  const auto has_slot = [&] { return frames_sent_ - frames_ended_ < kSends; };
  int added = 0;
  while (!queued_.empty() && credit_ > kReservedCredit && has_slot() && MayPost(queued_.front())) {
    QueuedFrame& frame = queued_.front();
    const size_t bytes = std::min<size_t>(frame.bytes.size() - frame.sent, kPayloadBytes);
    const bool last = frame.sent + bytes == frame.bytes.size();
    AddFrame(frame.type, last, {frame.bytes.data() + frame.sent, bytes});
    frame.sent += bytes;
    queued_bytes_ -= bytes;
    if (last) queued_.pop_front();
    ++added;
  }
  if (owed_ >= kOweAtMost && credit_ > 0 && has_slot()) {
    AddFrame(FrameType::kCredit, true, {});
    ++added;
  }
  return added;
}

int VerbsChannel::AddPieces() {
  int added = 0;
  while (next_to_post_ < transfers_started_) {
    const auto queue = std::min_element(queues_.begin(), queues_.end(),
                                        [](const QueuePair& a, const QueuePair& b) { return a.pieces() < b.pieces(); });
    if (queue->pieces() >= kMostPieces) break;
    Transfer& transfer = transfers_.at(next_to_post_);
    const uint64_t bytes =
        std::min({transfer.bytes - transfer.posted, kPieceBytes, uint64_t{device_->port_attributes().max_msg_sz}});
    const ibv_sge place{reinterpret_cast<uint64_t>(transfer.local + transfer.posted), static_cast<uint32_t>(bytes),
                        transfer.local_key};
    queue->Add({next_to_post_}, transfer.opcode, place, transfer.remote + transfer.posted, transfer.remote_key);
    transfer.posted += bytes;
    ++transfer.pieces_out;
    ++added;
    if (transfer.posted < transfer.bytes) continue;
    if (transfer.opcode == IBV_WR_RDMA_WRITE) ++pushes_posted_;
    ++next_to_post_;
    if (!queued_.empty() && MayPost(queued_.front())) break;  // a message first
  }
  return added;
}

void VerbsChannel::PostLists() {
  for (size_t i = 0; i < queues_.size(); ++i) {
    if (!queues_[i].has_list()) continue;
    if (i == 0) last_sent_ = worker_.now();
    const absl::Status posted = queues_[i].Post(worker_.SendId(id_, i));
    if (!posted.ok()) End(absl::UnavailableError(posted.message()), false);
  }
}

int VerbsChannel::PostAll() {
  if (state_ != State::kOpen) return 0;
  int added = 0;
  for (int more = 1; more > 0; added += more) more = AddFrames() + AddPieces();
  if (added > 0 || queues_[0].has_list()) PostLists();
  return added;
}

void VerbsChannel::OnSent(size_t queue) {
  if (queue >= queues_.size()) return;
  for (const Posted& posted : queues_[queue].TakeCompleted()) {
    if (posted.transfer == Posted::kFrame) {
      ++frames_ended_;
      continue;
    }
    const auto found = transfers_.find(posted.transfer);
    Transfer& transfer = found->second;
    if (--transfer.pieces_out > 0 || transfer.posted < transfer.bytes) continue;
    if (transfer.opcode == IBV_WR_RDMA_WRITE) (void)pushes_ended_.Add(transfer.push_number);
    if (transfer.flush != nullptr) transfer.flush();
    done_.push_back(transfer.token);
    transfers_.erase(found);
  }
  worker_.GiveTurn(this);
}

int VerbsChannel::TellDone() {
  const auto done = std::exchange(done_, {});
  for (const uint64_t token : done) {
    if (events_ != nullptr) events_->OnTransferDone(*connection_, token, absl::OkStatus());
  }
  return static_cast<int>(done.size());
}

void VerbsChannel::Probe(absl::Time now) {
  if (state_ != State::kOpen || now - last_sent_ < kSilence || !queues_[0].idle() || credit_ == 0) return;
  AddFrame(FrameType::kCredit, true, {});
  PostLists();
}

void VerbsChannel::OnFailed(const ibv_wc& completion) {
  finish_at_ = absl::InfinitePast();  // if it is ending: a goodbye reaches nobody any more
  if (completion.status == IBV_WC_REM_ACCESS_ERR && state_ == State::kOpen) ++remote_access_errors;
  End(absl::UnavailableError(ibv_wc_status_str(completion.status)), false);
}

}  // namespace droidspeak::verbs
