// SPDX-License-Identifier: Apache-2.0
#include "client/src/fetch.h"

#include <algorithm>
#include <utility>

#include "absl/time/clock.h"
#include "common/base/log.h"
#include "common/key/checksum.h"

namespace droidspeak {

class FetchState::Part : public Pending {
 public:
  Part(std::shared_ptr<FetchState> fetch, int index) : fetch_(std::move(fetch)), index_(index) {}
  bool OnAnswer(const wire::Message& message) override { return fetch_->OnAnswer(index_, message); }
  void OnGivenUp(const absl::Status&) override { fetch_->EndPart(index_, /*proven=*/false); }
  void OnLost(const absl::Status&) override { fetch_->EndPart(index_, /*proven=*/true); }

 private:
  const std::shared_ptr<FetchState> fetch_;
  const int index_;
};

FetchState::FetchState(Reactor& reactor, Layout layout, std::vector<PlacedItem> items, std::vector<Digest> blocks,
                       std::vector<uint32_t> slots, std::vector<FetchPart> parts, bool verify)
    : reactor_(reactor),
      layout_(layout),
      items_(std::move(items)),
      blocks_(std::move(blocks)),
      slots_(std::move(slots)),
      parts_(std::move(parts)),
      verify_(verify),
      extents_(items_.size() * blocks_.size(), Extent::kMissing),
      checksums_(extents_.size()),
      states_(parts_.size()) {
  for (const FetchPart& part : parts_) {
    for (const int block : part.blocks) {
      for (size_t item = 0; item < items_.size(); ++item) extents_[at(item, block)] = Extent::kAwaited;
    }
  }
}

void FetchState::Start(const std::shared_ptr<FetchState>& self, absl::Duration deadline, bool prefetch) {
  for (size_t i = 0; i < parts_.size(); ++i) {
    const FetchPart& part = parts_[i];
    wire::FetchRequest request;
    request.request_id = part.link->NextRequestId();
    request.namespace_id = part.namespace_id;
    request.remaining_ms = static_cast<uint32_t>(std::clamp<int64_t>(absl::ToInt64Milliseconds(deadline), 1, 1 << 30));
    request.priority = prefetch ? 1 : 0;
    request.checksums = verify_;
    for (const PlacedItem& placed : items_) {
      request.items.push_back(
          {placed.item.kind,
           static_cast<uint16_t>(placed.item.layer),
           {placed.memory->id(), placed.item.first},
           {placed.has_second ? placed.memory->id() : 0, placed.has_second ? placed.item.second : 0},
           placed.item.slot_stride});
    }
    for (const int block : part.blocks) {
      request.blocks.push_back(blocks_[block]);
      request.slots.push_back(slots_[block]);
    }
    const uint64_t id = request.request_id;
    {
      absl::MutexLock lock(&mutex_);
      states_[i].request_id = id;
    }
    part.link->Submit(id, std::make_shared<Part>(self, i), std::move(request));
  }
}

bool FetchState::OnAnswer(int part, const wire::Message& message) {
  if (const auto* accepted = std::get_if<wire::FetchAccepted>(&message)) {
    absl::MutexLock lock(&mutex_);
    OnAccepted(part, *accepted);
    return false;
  }
  if (const auto* layer_done = std::get_if<wire::LayerDone>(&message)) {
    absl::MutexLock lock(&mutex_);
    OnLayerDone(part, *layer_done);
    return false;
  }
  // FetchDone, Cancelled or a refusal: no byte of this request will move any more.
  if (const auto* done = std::get_if<wire::FetchDone>(&message); done != nullptr && done->code != 0) {
    spdlog::debug("fetch from {}: {}", parts_[part].link->session().server_name, done->text);
  }
  if (const auto* refused = std::get_if<wire::StatusAnswer>(&message)) {
    spdlog::warn("fetch refused by {}: {}", parts_[part].link->session().server_name, refused->text);
  }
  EndPart(part, /*proven=*/true);
  return true;
}

void FetchState::OnAccepted(int part, const wire::FetchAccepted& accepted) {
  PartState& state = states_[part];
  if (state.ended) return;
  state.accepted = static_cast<int>(std::min<size_t>(accepted.blocks, parts_[part].blocks.size()));
  for (size_t tier = 0; tier < stats_.tier_bytes.size(); ++tier) {
    stats_.tier_bytes[tier] += accepted.tier_bytes[tier];
    stats_.tier_extents[tier] += accepted.tier_extents[tier];
  }
  LosePart(part, state.accepted);
}

void FetchState::OnLayerDone(int part, const wire::LayerDone& done) {
  const std::vector<int>& blocks = parts_[part].blocks;
  if (states_[part].ended || done.item >= items_.size() || done.first_block > blocks.size() ||
      done.checksums.size() > blocks.size() - done.first_block) {
    return;
  }
  const PlacedItem& item = items_[done.item];
  const uint64_t bytes = layout_.extent_bytes(item.item.kind) * done.checksums.size();
  (item.has_second ? stats_.kv_bytes : stats_.e_bytes) += bytes;
  for (size_t i = 0; i < done.checksums.size(); ++i) {
    const size_t extent = at(done.item, blocks[done.first_block + i]);
    if (extents_[extent] != Extent::kAwaited) continue;
    extents_[extent] = Extent::kLanded;
    checksums_[extent] = done.checksums[i];
  }
}

void FetchState::LosePart(int part, int from) {
  const std::vector<int>& blocks = parts_[part].blocks;
  for (size_t i = from; i < blocks.size(); ++i) {
    for (size_t item = 0; item < items_.size(); ++item) {
      Extent& extent = extents_[at(item, blocks[i])];
      if (extent == Extent::kAwaited) extent = Extent::kMissing;
    }
  }
}

void FetchState::EndPart(int part, bool proven) {
  absl::MutexLock lock(&mutex_);
  PartState& state = states_[part];
  if (!std::exchange(state.ended, true)) {
    if (state.accepted < 0) state.accepted = 0;
    LosePart(part, 0);
  }
  state.proven = state.proven || proven;
}

int FetchState::AcceptedBlocks(absl::Time deadline) {
  absl::MutexLock lock(&mutex_);
  const auto answered = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return std::all_of(states_.begin(), states_.end(), [](const PartState& state) { return state.accepted >= 0; });
  };
  reactor_.Await(mutex_, absl::Condition(&answered), deadline);
  std::vector<bool> accepted(blocks_.size());
  for (size_t i = 0; i < parts_.size(); ++i) {
    for (int j = 0; j < states_[i].accepted; ++j) accepted[parts_[i].blocks[j]] = true;
  }
  return static_cast<int>(std::find(accepted.begin(), accepted.end(), false) - accepted.begin());
}

int FetchState::Wait(int item, int blocks, absl::Time deadline) {
  for (int block = 0; block < blocks; ++block) {
    const size_t extent = at(item, block);
    uint64_t checksum = 0;
    {
      absl::MutexLock lock(&mutex_);
      const auto settled = [this, extent]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
        return extents_[extent] != Extent::kAwaited && extents_[extent] != Extent::kVerifying;
      };
      if (!reactor_.Await(mutex_, absl::Condition(&settled), deadline)) {
        // What was late stays missing: an answer must not depend on who asked when.
        if (extents_[extent] == Extent::kAwaited) extents_[extent] = Extent::kMissing;
        return block;
      }
      if (extents_[extent] == Extent::kMissing) return block;
      if (extents_[extent] == Extent::kGood) continue;
      extents_[extent] = Extent::kVerifying;
      checksum = checksums_[extent];
    }
    const bool good = Verify(item, block, checksum);
    absl::MutexLock lock(&mutex_);
    extents_[extent] = good ? Extent::kGood : Extent::kMissing;
    if (!good) return block;
  }
  return blocks;
}

int FetchState::Ready(int item) {
  int landed = 0;
  {
    absl::MutexLock lock(&mutex_);
    while (landed < static_cast<int>(blocks_.size()) &&
           (extents_[at(item, landed)] == Extent::kLanded || extents_[at(item, landed)] == Extent::kGood)) {
      ++landed;
    }
  }
  return Wait(item, landed, absl::InfiniteFuture());
}

bool FetchState::Settled(int item, int blocks) {
  absl::MutexLock lock(&mutex_);
  for (int block = 0; block < blocks; ++block) {
    const Extent extent = extents_[at(item, block)];
    if (extent == Extent::kMissing) return true;
    if (extent == Extent::kAwaited || extent == Extent::kVerifying) return false;
  }
  return true;
}

bool FetchState::Verify(int item, int block, uint64_t checksum) const {
  if (!verify_) return true;
  const PlacedItem& placed = items_[item];
  const ExtentIdentity identity{blocks_[block], placed.item.kind, static_cast<uint16_t>(placed.item.layer)};
  const absl::Span<const std::byte> first(placed.first(slots_[block]), placed.part_bytes);
  const uint64_t computed = placed.has_second
                                ? ExtentChecksum(identity, first, {placed.second(slots_[block]), placed.part_bytes})
                                : ExtentChecksum(identity, first);
  if (computed == checksum) return true;
  spdlog::error("checksum mismatch: block {} {} layer {}; treated as missing", blocks_[block].Hex(),
                placed.has_second ? "KV" : "E", placed.item.layer);
  return false;
}

FetchStats FetchState::stats() const {
  absl::MutexLock lock(&mutex_);
  return stats_;
}

void FetchState::SendCancels() {
  absl::MutexLock lock(&mutex_);
  for (size_t i = 0; i < parts_.size(); ++i) {
    if (!states_[i].ended) parts_[i].link->Send(wire::CancelRequest{states_[i].request_id});
  }
}

bool FetchState::AllProven() const {
  return std::all_of(states_.begin(), states_.end(), [](const PartState& state) { return state.proven; });
}

bool FetchState::proven() const {
  absl::MutexLock lock(&mutex_);
  return AllProven();
}

bool FetchState::WaitUntilProven(absl::Time deadline) {
  absl::MutexLock lock(&mutex_);
  const auto proven = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return AllProven(); };
  return reactor_.Await(mutex_, absl::Condition(&proven), deadline);
}

void FetchState::CloseUnproven(const absl::Status& why) {
  absl::MutexLock lock(&mutex_);
  for (size_t i = 0; i < parts_.size(); ++i) {
    if (!states_[i].proven) parts_[i].link->Close(why);
  }
}

void FetchState::QuarantineUnproven() {
  absl::MutexLock lock(&mutex_);
  for (size_t i = 0; i < parts_.size(); ++i) {
    if (states_[i].proven) continue;
    std::vector<uint32_t> slots;
    for (const int block : parts_[i].blocks) slots.push_back(slots_[block]);
    ForEachRange(items_, slots,
                 [](RegionMemory& memory, uint64_t first, uint64_t last) { memory.Quarantine(first, last); });
  }
}

FetchImpl::~FetchImpl() {
  if (FetchImpl::Cancel(absl::Now() + cancel_timeout_)) return;
  const absl::Status why = absl::DeadlineExceededError("a cancelled fetch was not confirmed in time");
  spdlog::warn("{}; closing the connection", std::string(why.message()));
  state_->CloseUnproven(why);
  if (!state_->WaitUntilProven(absl::Now() + cancel_timeout_)) state_->QuarantineUnproven();
}

bool FetchImpl::Cancel(absl::Time deadline) {
  if (state_->proven()) return true;
  state_->SendCancels();
  return state_->WaitUntilProven(deadline);
}

}  // namespace droidspeak
