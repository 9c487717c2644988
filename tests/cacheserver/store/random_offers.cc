// SPDX-License-Identifier: Apache-2.0
// The part of RandomDriver that offers, fills and seals.
#include <algorithm>
#include <cstring>
#include <utility>

#include "common/key/checksum.h"
#include "gtest/gtest.h"
#include "tests/cacheserver/store/random_driver.h"

namespace droidspeak::testing {
namespace {

constexpr size_t kMostOffers = 6;  // open
constexpr absl::Duration kLease = absl::Seconds(30);

std::set<ExtentKey> KeysOf(const wire::LayerBits& kv, const wire::LayerBits& e) {
  std::set<ExtentKey> keys;
  for (uint16_t layer = 0; layer < 64; ++layer) {
    if ((kv[0] >> layer) & 1) keys.insert({Kind::kKv, layer});
    if ((e[0] >> layer) & 1) keys.insert({Kind::kE, layer});
  }
  return keys;
}

}  // namespace

void RandomDriver::StartOffer(bool finish) {
  OpenOffer open;
  open.space = &PickSpace();
  open.owner = 1 + Pick(3);
  size_t first = 0;
  open.hashes = PickRun(*open.space, first);
  const wire::LayerBits kv = PickLayers(*open.space);
  const wire::LayerBits e = PickLayers(*open.space);
  const bool durable = Pick(10) == 0;
  Sync(*open.space, open.hashes);
  std::vector<wire::OfferBlock> offered;
  for (size_t i = 0; i < open.hashes.size(); ++i) {
    offered.push_back({open.hashes[i], i == 0 ? Digest{} : open.hashes[i - 1], static_cast<uint32_t>(first + i)});
  }
  absl::StatusOr<ExtentStore::OfferResult> made =
      (*store_)->MakeOffer(open.owner, open.space->tenant, open.space->id, offered, kv, e, kLease);
  ASSERT_TRUE(made.ok()) << made.status();
  open.offer = std::move(made->offer);
  ExpectAnswer(open, kv, e, made->blocks);
  if (::testing::Test::HasFatalFailure()) return;
  offers_.push_back(std::move(open));
  if (finish) {
    FillSome(offers_.back(), /*skip_one_in=*/8);
    SealOffer(offers_.back(), durable);
    offers_.pop_back();
  } else {
    FillSome(offers_.back(), /*skip_one_in=*/2);
    if (offers_.size() <= kMostOffers) return;
    SealOffer(offers_.front(), durable);
    offers_.pop_front();
  }
}

void RandomDriver::ExpectAnswer(OpenOffer& open, const wire::LayerBits& kv, const wire::LayerBits& e,
                                const std::vector<wire::BlockOffer>& answers) {
  const std::set<ExtentKey> keys = KeysOf(kv, e);
  ASSERT_EQ(answers.size(), open.hashes.size());
  for (size_t i = 0; i < answers.size(); ++i) {
    ModelBlock& block = model_.FindOrMake(*open.space, open.hashes[i]);
    ++block.offers;
    Wanted wanted{{}, {}, block.generation};
    std::set<ExtentKey> busy;
    for (const ExtentKey& key : keys) {
      const bool filling = block.filling.contains(key);
      const bool ready = block.ready.contains(key);
      if (filling && !ready) busy.insert(key);
      (filling || ready ? wanted.kept : wanted.want).insert(key);
    }
    block.filling.insert(wanted.want.begin(), wanted.want.end());
    ASSERT_EQ(KeysOf(answers[i].want_kv, answers[i].want_e), wanted.want) << "wanted of block " << i;
    ASSERT_EQ(KeysOf(answers[i].busy_kv, answers[i].busy_e), busy) << "busy of block " << i;
    open.wanted.push_back(std::move(wanted));
  }
}

void RandomDriver::FillSome(OpenOffer& open, size_t skip_one_in) {
  for (size_t i = 0; i < open.hashes.size(); ++i) {
    const std::set<ExtentKey> want = open.wanted[i].want;
    for (const ExtentKey& key : want) {
      const size_t dice = Pick(16 * skip_one_in);
      if (dice % skip_one_in == 0) continue;
      const ExtentSelector extent{key.first, key.second};
      const bool out = std::any_of(open.slots.begin(), open.slots.end(),
                                   [&](const Slot& slot) { return slot.block == i && slot.extent == extent; });
      absl::StatusOr<FillSlot> slot = store_->Allocate(open.offer, i, extent);
      if (open.ended || out) {
        ASSERT_EQ(slot.status().code(),
                  open.ended ? absl::StatusCode::kDeadlineExceeded : absl::StatusCode::kFailedPrecondition);
        continue;
      }
      if (absl::IsResourceExhausted(slot.status()) && conditions_.tight) continue;  // held by readers and fillers
      ASSERT_TRUE(slot.ok()) << slot.status();
      const uint64_t version = ++version_;
      const std::string bytes = ExtentBytes(open.hashes[i], extent, slot->bytes(), version);
      std::memcpy(slot->data(), bytes.data(), bytes.size());
      if (dice / skip_one_in == 0) continue;  // aborted
      Slot filled{*std::move(slot), i, extent, version};
      if (dice / skip_one_in == 1 && open.slots.size() < 4) {
        open.slots.push_back(std::move(filled));
      } else {
        Commit(open, std::move(filled));
      }
    }
  }
}

void RandomDriver::Commit(OpenOffer& open, Slot filled) {
  const Digest& hash = open.hashes[filled.block];
  Wanted& wanted = open.wanted[filled.block];
  const absl::Span<const std::byte> bytes(filled.slot.data(), filled.slot.bytes());
  const absl::StatusOr<bool> committed =
      filled.slot.Commit(ExtentChecksum({hash, filled.extent.kind, filled.extent.layer}, bytes));
  if (open.ended) {
    ASSERT_TRUE(absl::IsDeadlineExceeded(committed.status())) << committed.status();
    return;
  }
  const ExtentKey key = KeyOf(filled.extent);
  wanted.want.erase(key);
  ModelBlock* const block = model_.Find(*open.space, hash);
  if (block == nullptr || block->generation != wanted.generation) {
    // Removed; or expired when its pin went, which the store may not have noticed yet. Nobody sees it in any case.
    ASSERT_TRUE(committed.ok() || absl::IsNotFound(committed.status())) << committed.status();
    return;
  }
  ASSERT_TRUE(committed.ok()) << committed.status();
  ASSERT_TRUE(*committed) << "another fill was first, of an extent that only this offer wanted";
  block->filling.erase(key);
  block->ready[key] = filled.version;
  wanted.kept.insert(key);
  ++fills_;
}

absl::StatusCode RandomDriver::DurableOutcome(const OpenOffer& open) {
  if (conditions_.spill_bytes == 0) return absl::StatusCode::kFailedPrecondition;
  for (size_t i = 0; i < open.hashes.size(); ++i) {
    const ModelBlock* const block = model_.Find(*open.space, open.hashes[i]);
    const bool current = block != nullptr && block->generation == open.wanted[i].generation;
    size_t missing = 0;
    for (const ExtentKey& key : open.wanted[i].kept) {
      if (current && block->filling.contains(key)) return absl::StatusCode::kUnavailable;
      missing += current && block->ready.contains(key) ? 0 : 1;
    }
    if (missing > 0) return absl::StatusCode::kResourceExhausted;
  }
  return absl::StatusCode::kOk;
}

void RandomDriver::SealOffer(OpenOffer& open, bool durable) {
  const bool ended = open.ended;
  EndOffer(open);  // what it has not filled is nobody's from here on
  const absl::Status sealed = store_->Seal(open.offer, durable);
  if (ended) {
    ASSERT_TRUE(absl::IsDeadlineExceeded(sealed)) << sealed;
  } else if (!durable) {
    ASSERT_TRUE(sealed.ok()) << sealed;
  } else if (!conditions_.evicts || conditions_.spill_bytes == 0) {
    ASSERT_EQ(sealed.code(), DurableOutcome(open)) << sealed;
  } else {
    ASSERT_TRUE(sealed.ok() || absl::IsResourceExhausted(sealed) || absl::IsUnavailable(sealed)) << sealed;
  }
  for (Slot& slot : open.slots) ASSERT_TRUE(absl::IsDeadlineExceeded(slot.slot.Commit(1).status()));
  open.slots.clear();
}

void RandomDriver::EndOffer(OpenOffer& open) {
  if (std::exchange(open.ended, true)) return;
  for (size_t i = 0; i < open.hashes.size(); ++i) {
    ModelBlock* const block = model_.Find(*open.space, open.hashes[i]);
    if (block == nullptr || block->generation != open.wanted[i].generation) continue;
    for (const ExtentKey& key : open.wanted[i].want) block->filling.erase(key);
    --block->offers;
    model_.Settle(*open.space, open.hashes[i]);
  }
}

void RandomDriver::ContinueOffer() {
  if (offers_.empty()) return;
  const size_t index = Pick(offers_.size());
  OpenOffer& open = offers_[index];
  const bool seal = Pick(2) == 0;
  const bool durable = Pick(4) == 0;
  std::vector<Slot> slots = std::exchange(open.slots, {});
  for (Slot& slot : slots) Commit(open, std::move(slot));
  FillSome(open, /*skip_one_in=*/3);
  if (!seal && !open.ended) return;
  SealOffer(open, durable);
  offers_.erase(offers_.begin() + static_cast<ptrdiff_t>(index));
}

}  // namespace droidspeak::testing
