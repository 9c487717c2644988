// SPDX-License-Identifier: Apache-2.0
#include "client/src/store.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/log.h"
#include "common/base/status.h"
#include "common/key/checksum.h"

namespace droidspeak {
namespace {

bool Has(const std::array<uint64_t, 4>& bits, int layer) {
  return (bits[layer / 64] >> (layer % 64) & 1) != 0;
}

absl::Status ToStatus(uint32_t code, const std::string& text) {
  return absl::Status(static_cast<absl::StatusCode>(code), text);
}

}  // namespace

class StoreState::OfferAnswered : public Pending {
 public:
  OfferAnswered(std::shared_ptr<StoreState> store, int part) : store_(std::move(store)), part_(part) {}
  bool OnAnswer(const wire::Message& message) override {
    if (const auto* refused = std::get_if<wire::StatusAnswer>(&message)) {
      const absl::Status why = ToStatus(refused->code, refused->text);
      // A server without room is like one that wants nothing; one that takes nothing from us is a mistake to be told
      // of.
      if (absl::IsPermissionDenied(why)) {
        absl::MutexLock lock(&store_->mutex_);
        store_->first_error_.Update(why);
      }
    }
    store_->OnOffer(part_, std::get_if<wire::OfferAnswer>(&message));
    return true;
  }
  void OnGivenUp(const absl::Status&) override { store_->OnOffer(part_, nullptr); }
  void OnLost(const absl::Status&) override { store_->OnOffer(part_, nullptr); }

 private:
  const std::shared_ptr<StoreState> store_;
  const int part_;
};

// A fill's sources are only read by the server: a late read of changed bytes fails its checksum and harms nobody, so
// that giving a link up frees them at once.
class StoreState::FillAnswered : public Pending {
 public:
  FillAnswered(std::shared_ptr<StoreState> store, std::vector<PlacedItem> sources)
      : store_(std::move(store)), sources_(std::move(sources)) {}
  bool OnAnswer(const wire::Message& message) override {
    if (const auto* filled = std::get_if<wire::Filled>(&message)) {
      End(ToStatus(filled->code, filled->text));
    } else if (const auto* refused = std::get_if<wire::StatusAnswer>(&message)) {
      End(ToStatus(refused->code, refused->text));
    }
    return true;
  }
  void OnGivenUp(const absl::Status& why) override { End(why); }
  void OnLost(const absl::Status& why) override { End(why); }

 private:
  void End(const absl::Status& status) {
    if (std::exchange(ended_, true)) return;
    absl::MutexLock lock(&store_->mutex_);
    --store_->fills_;
    store_->first_error_.Update(status);
  }
  const std::shared_ptr<StoreState> store_;
  const std::vector<PlacedItem> sources_;  // keeps their memory mapped while the server may read it
  bool ended_ = false;
};

class StoreState::SealAnswered : public Pending {
 public:
  explicit SealAnswered(std::shared_ptr<StoreState> store) : store_(std::move(store)) {}
  bool OnAnswer(const wire::Message& message) override {
    if (const auto* sealed = std::get_if<wire::Sealed>(&message)) {
      End(ToStatus(sealed->code, sealed->text));
    } else if (const auto* refused = std::get_if<wire::StatusAnswer>(&message)) {
      End(ToStatus(refused->code, refused->text));
    }
    return true;
  }
  void OnGivenUp(const absl::Status& why) override { End(why); }
  void OnLost(const absl::Status& why) override { End(why); }

 private:
  void End(const absl::Status& status) {
    if (std::exchange(ended_, true)) return;
    absl::MutexLock lock(&store_->mutex_);
    --store_->seals_;
    store_->first_error_.Update(status);
  }
  const std::shared_ptr<StoreState> store_;
  bool ended_ = false;
};

StoreState::StoreState(Reactor& reactor, Layout layout, StoreOptions options, std::vector<StorePart> parts)
    : reactor_(reactor),
      layout_(layout),
      options_(std::move(options)),
      parts_(std::move(parts)),
      part_of_block_(options_.blocks.size(), -1),
      index_in_part_(options_.blocks.size(), 0),
      states_(parts_.size()),
      wants_(options_.blocks.size()) {
  for (size_t part = 0; part < parts_.size(); ++part) {
    for (size_t i = 0; i < parts_[part].blocks.size(); ++i) {
      part_of_block_[parts_[part].blocks[i]] = static_cast<int>(part);
      index_in_part_[parts_[part].blocks[i]] = static_cast<int>(i);
    }
  }
}

void StoreState::Offer(const std::shared_ptr<StoreState>& self) {
  const Reactor::Turn turn(reactor_);
  for (size_t i = 0; i < parts_.size(); ++i) {
    const StorePart& part = parts_[i];
    wire::OfferRequest request;
    request.request_id = part.link->NextRequestId();
    request.namespace_id = part.namespace_id;
    request.kv = options_.kv;
    request.e = options_.e;
    for (const int block : part.blocks) {
      request.blocks.push_back({options_.blocks[block], block == 0 ? options_.parent : options_.blocks[block - 1],
                                static_cast<uint32_t>(options_.first_position + block)});
    }
    {
      absl::MutexLock lock(&mutex_);
      states_[i].offer_id = request.request_id;
    }
    part.link->Submit(request.request_id, std::make_shared<OfferAnswered>(self, i), std::move(request));
  }
}

void StoreState::OnOffer(int part, const wire::OfferAnswer* answer) {
  absl::MutexLock lock(&mutex_);
  PartState& state = states_[part];
  const bool late = std::exchange(state.answered, true);
  if (answer == nullptr) return;
  if (late) {  // nobody will fill it: others may
    const std::shared_ptr<Link>& link = parts_[part].link;
    link->Send(wire::SealRequest{link->NextRequestId(), state.offer_id, false});
    return;
  }
  state.open = true;
  const std::vector<int>& blocks = parts_[part].blocks;
  for (size_t i = 0; i < std::min(blocks.size(), answer->blocks.size()); ++i) {
    const wire::BlockOffer& offer = answer->blocks[i];
    wants_[blocks[i]] = {offer.want_kv, offer.want_e, offer.busy_kv, offer.busy_e};
  }
}

std::vector<BlockWants> StoreState::TakeWants(absl::Time deadline) {
  absl::MutexLock lock(&mutex_);
  const auto answered = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return std::all_of(states_.begin(), states_.end(), [](const PartState& state) { return state.answered; });
  };
  if (!reactor_.Await(mutex_, absl::Condition(&answered), deadline)) {
    for (PartState& state : states_) state.answered = true;  // an answer that comes later changes nothing
  }
  return wants_;
}

bool StoreState::Wanted(int block, const TransferItem& item) const {
  absl::MutexLock lock(&mutex_);
  return Has(item.kind == Kind::kKv ? wants_[block].kv : wants_[block].e, item.layer);
}

uint64_t StoreState::Checksum(const PlacedItem& placed, int block, uint32_t slot) const {
  const ExtentIdentity identity{options_.blocks[block], placed.item.kind, static_cast<uint16_t>(placed.item.layer)};
  const absl::Span<const std::byte> first(placed.first(slot), placed.part_bytes);
  return placed.has_second ? ExtentChecksum(identity, first, {placed.second(slot), placed.part_bytes})
                           : ExtentChecksum(identity, first);
}

absl::Status StoreState::Fill(const std::shared_ptr<StoreState>& self, const std::vector<TransferItem>& items,
                              const std::vector<int>& blocks, const std::vector<uint32_t>& slots) {
  if (blocks.size() != slots.size()) {
    return absl::InvalidArgumentError(absl::StrCat(blocks.size(), " blocks, but ", slots.size(), " slots"));
  }
  ASSIGN_OR_RETURN(const std::vector<PlacedItem> placed, PlaceItems(layout_, items, slots));
  for (const int block : blocks) {
    if (block < 0 || block >= static_cast<int>(part_of_block_.size())) {
      return absl::InvalidArgumentError(
          absl::StrCat("block ", block, "; the offer has blocks 0 to ", static_cast<int>(part_of_block_.size()) - 1));
    }
  }
  for (size_t part = 0; part < parts_.size(); ++part) {
    std::vector<int> share;
    std::vector<uint32_t> share_slots;
    for (size_t i = 0; i < blocks.size(); ++i) {
      const bool wanted =
          std::any_of(items.begin(), items.end(), [&](const TransferItem& item) { return Wanted(blocks[i], item); });
      if (part_of_block_[blocks[i]] != static_cast<int>(part) || !wanted) continue;
      share.push_back(blocks[i]);
      share_slots.push_back(slots[i]);
    }
    const size_t most = wire::kMaxExtentsPerFill / items.size();  // blocks a message
    for (size_t first = 0; first < share.size(); first += most) {
      const size_t end = std::min(share.size(), first + most);
      FillPart(self, static_cast<int>(part), placed, {share.begin() + first, share.begin() + end},
               {share_slots.begin() + first, share_slots.begin() + end});
    }
  }
  return absl::OkStatus();
}

void StoreState::FillPart(const std::shared_ptr<StoreState>& self, int part, const std::vector<PlacedItem>& items,
                          const std::vector<int>& blocks, const std::vector<uint32_t>& slots) {
  const std::shared_ptr<Link>& link = parts_[part].link;
  wire::FillRequest request;
  request.request_id = link->NextRequestId();
  request.slots = slots;
  for (const int block : blocks) request.blocks.push_back(static_cast<uint32_t>(index_in_part_[block]));
  for (const PlacedItem& placed : items) {
    request.items.push_back({placed.item.kind,
                             static_cast<uint16_t>(placed.item.layer),
                             {placed.memory->id(), placed.item.first},
                             {placed.has_second ? placed.memory->id() : 0, placed.has_second ? placed.item.second : 0},
                             placed.item.slot_stride});
    for (size_t i = 0; i < blocks.size(); ++i) {
      // The server skips what it does not want; hashing that would be for nothing.
      request.checksums.push_back(Wanted(blocks[i], placed.item) ? Checksum(placed, blocks[i], slots[i]) : 0);
    }
  }
  {
    absl::MutexLock lock(&mutex_);
    request.offer_id = states_[part].offer_id;
    ++fills_;
  }
  link->Submit(request.request_id, std::make_shared<FillAnswered>(self, items), std::move(request));
}

absl::Status StoreState::WaitFilled(absl::Time deadline) {
  absl::MutexLock lock(&mutex_);
  const auto idle = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return fills_ == 0; };
  if (!reactor_.Await(mutex_, absl::Condition(&idle), deadline)) {
    return absl::DeadlineExceededError(absl::StrCat(fills_, " fills are still under way"));
  }
  return first_error_;
}

void StoreState::SendSeals(const std::shared_ptr<StoreState>& self, bool durable) {
  const Reactor::Turn turn(reactor_);
  for (size_t i = 0; i < parts_.size(); ++i) {
    wire::SealRequest request;
    {
      absl::MutexLock lock(&mutex_);
      sealed_ = true;
      if (!states_[i].open) {
        if (durable) first_error_.Update(absl::UnavailableError("a server did not take its part of the offer"));
        continue;
      }
      ++seals_;
      request = {parts_[i].link->NextRequestId(), states_[i].offer_id, durable};
    }
    parts_[i].link->Submit(request.request_id, std::make_shared<SealAnswered>(self), request);
  }
}

absl::Status StoreState::Seal(const std::shared_ptr<StoreState>& self, bool durable, absl::Time deadline) {
  RETURN_IF_ERROR(WaitFilled(deadline));
  SendSeals(self, durable);
  absl::MutexLock lock(&mutex_);
  const auto idle = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return seals_ == 0; };
  if (!reactor_.Await(mutex_, absl::Condition(&idle), deadline)) {
    return absl::DeadlineExceededError(absl::StrCat(seals_, " seals are still under way"));
  }
  if (durable && std::find(part_of_block_.begin(), part_of_block_.end(), -1) != part_of_block_.end()) {
    return absl::UnavailableError("some blocks' server cannot be reached");
  }
  return first_error_;
}

void StoreState::Abandon() {
  absl::MutexLock lock(&mutex_);
  if (std::exchange(sealed_, true)) return;
  for (size_t i = 0; i < parts_.size(); ++i) {
    if (!states_[i].open) continue;
    parts_[i].link->Send(wire::SealRequest{parts_[i].link->NextRequestId(), states_[i].offer_id, false});
  }
}

}  // namespace droidspeak
