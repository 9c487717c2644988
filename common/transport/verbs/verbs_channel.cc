// SPDX-License-Identifier: Apache-2.0
// Opening and ending; verbs_send.cc and verbs_receive.cc have what goes out and comes in.
#include "common/transport/verbs/verbs_channel.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status.h"
#include "common/transport/verbs/verbs_worker.h"

namespace droidspeak::verbs {
namespace {

// How long an end waits for its goodbye, and a server for what it has posted, before it tears the queue pairs down.
constexpr absl::Duration kGoodbyeLimit = absl::Milliseconds(200);

}  // namespace

VerbsChannel::VerbsChannel(VerbsWorker& worker, uint64_t id, Role role)
    : worker_(worker), device_(worker.device()), id_(id), role_(role), frames_((kReceives + kSends) * kFrameBytes) {}

absl::StatusOr<std::unique_ptr<VerbsChannel>> VerbsChannel::Create(VerbsWorker& worker, uint64_t id, Role role,
                                                                   size_t queue_pairs) {
  std::unique_ptr<VerbsChannel> channel(new VerbsChannel(worker, id, role));
  RETURN_IF_ERROR(channel->Open(queue_pairs));
  return channel;
}

absl::Status VerbsChannel::Open(size_t queue_pairs) {
  ibv_pd* domain = device_->domain();
  if (role_ == Role::kClient) {
    RETURN_IF_ERROR(Take(ibv_alloc_pd(device_->context()), "making a protection domain", own_domain_));
    domain = own_domain_.get();
  }
  ASSIGN_OR_RETURN(frames_registration_,
                   RegisterMemory(domain, {frames_.data(), frames_.size()}, IBV_ACCESS_LOCAL_WRITE));
  for (size_t i = 0; i < queue_pairs; ++i) {
    ASSIGN_OR_RETURN(QueuePair queue,
                     QueuePair::Create(*device_, domain, worker_.completions(), role_ == Role::kClient));
    queues_.push_back(std::move(queue));
  }
  for (uint32_t slot = 0; slot < kReceives; ++slot) RETURN_IF_ERROR(PostReceive(slot));
  return absl::OkStatus();
}

Introduction VerbsChannel::introduction() const {
  Introduction own;
  own.lid = device_->port_attributes().lid;
  own.mtu = static_cast<uint8_t>(device_->port_attributes().active_mtu);
  own.link_layer = device_->port_attributes().link_layer;
  std::copy(std::begin(device_->gid().raw), std::end(device_->gid().raw), own.gid);
  own.frame_bytes = kFrameBytes;
  own.receives = kReceives;
  own.queue_pairs = static_cast<uint8_t>(queues_.size());
  own.reads = static_cast<uint8_t>(std::clamp(device_->attributes().max_qp_rd_atom, 1, 255));
  for (size_t i = 0; i < queues_.size(); ++i) own.queue_pair[i] = queues_[i].number();
  return own;
}

absl::Status VerbsChannel::Connect(const Introduction& peer) {
  peer_ = absl::StrCat("verbs:", peer.Name());
  while (queues_.size() > peer.queue_pairs) queues_.pop_back();  // the server may have fewer
  for (size_t i = 0; i < queues_.size(); ++i) {
    RETURN_IF_ERROR(Annotate(queues_[i].Connect(*device_, peer, i), absl::StrCat("connecting to ", peer_)));
  }
  credit_ = peer.receives;
  if (role_ == Role::kClient) {
    state_ = State::kOpen;
    AddFrame(FrameType::kOpen, true, {});
  }
  worker_.GiveTurn(this);
  return absl::OkStatus();
}

void VerbsChannel::Detach() {
  events_ = nullptr;
  connection_ = nullptr;
  Close();
  announced_.clear();  // its user may give the memory away now
  worker_.GiveTurn(this);
}

void VerbsChannel::End(const absl::Status& why, bool peer_may_hear) {
  if (!alive()) return;
  const bool was_open = state_ == State::kOpen;
  state_ = State::kEnding;
  why_ = Annotate(why, peer_);
  queued_.clear();
  const bool says_goodbye = was_open && peer_may_hear && credit_ > 0 && frames_sent_ - frames_ended_ < kSends;
  if (says_goodbye) AddFrame(FrameType::kGoodbye, true, {});
  finish_at_ = says_goodbye ? absl::Now() + kGoodbyeLimit : absl::InfinitePast();
  PostLists();
  worker_.GiveTurn(this);
}

int VerbsChannel::Turn(absl::Time now) {
  int done = TellDone();
  done += PostAll();
  if (ending()) {
    const bool idle = std::all_of(queues_.begin(), queues_.end(), [](const QueuePair& queue) { return queue.idle(); });
    if (!idle && now < finish_at_) {
      worker_.GiveTurn(this);
      return done;
    }
    Finish();
    ++done;
  }
  return done;
}

void VerbsChannel::Finish() {
  state_ = State::kClosed;
  queues_.clear();  // when this returns the device moves nothing of theirs any more
  TellDone();
  announced_.clear();
  frames_registration_.reset();
  regions_ = RegionTable();
  for (const auto& [number, transfer] : std::exchange(transfers_, {})) {
    if (events_ != nullptr) events_->OnTransferDone(*connection_, transfer.token, why_);
  }
  if (events_ != nullptr) events_->OnClosed(*connection_, why_);
}

}  // namespace droidspeak::verbs
