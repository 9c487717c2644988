// SPDX-License-Identifier: Apache-2.0
#include "engine/prefill/store_back.h"

#include <algorithm>
#include <utility>

#include "absl/time/clock.h"
#include "common/base/log.h"
#include "common/base/status.h"

namespace droidspeak {
namespace {

constexpr absl::Duration kStagingWait = absl::Seconds(10);

std::array<uint64_t, 4> Bits(const std::vector<int64_t>& layers) {
  std::array<uint64_t, 4> bits{};
  for (int64_t layer : layers) bits[layer / 64] |= uint64_t{1} << (layer % 64);
  return bits;
}

bool AnyBit(const std::array<uint64_t, 4>& bits) {
  return std::any_of(bits.begin(), bits.end(), [](uint64_t word) { return word != 0; });
}

StagingSlots SlotsFor(const ModelConfig& config, const StoreBackOptions& options) {
  return {config, options.ns.layout, options.kv_layers, options.e_layers};
}

}  // namespace

StoreBack::StoreBack(RemoteCache& cache, StagingSlots slots, Staging staging, int64_t blocks, StoreBackOptions options)
    : cache_(cache),
      staging_(std::move(staging)),
      slots_(std::move(slots)),
      options_(std::move(options)),
      block_tokens_(options_.ns.layout.block_tokens) {
  slots_.Use(staging_.region(), blocks);
}

StoreBack::~StoreBack() {
  for (Offer& offer : offers_) {
    if (absl::IsDeadlineExceeded(offer.store->WaitFilled(absl::Now() + absl::Seconds(1)))) staging_.Abandon();
  }
}

absl::StatusOr<std::unique_ptr<StoreBack>> StoreBack::Start(RemoteCache& cache, const ModelConfig& config,
                                                            absl::Span<const int32_t> tokens,
                                                            StoreBackOptions options) {
  StagingSlots slots = SlotsFor(config, options);
  const int64_t bytes = slots.block_bytes();
  if (bytes == 0) return absl::InvalidArgumentError("no layers to store");
  // One more than the sequence has full blocks: the one that decoding fills.
  const int64_t most = static_cast<int64_t>(tokens.size()) / options.ns.layout.block_tokens + 1;
  const int64_t blocks = std::clamp<int64_t>(options.max_staging_bytes / bytes, 1, most);
  ASSIGN_OR_RETURN(Staging staging, cache.AllocateStaging(static_cast<uint64_t>(blocks * bytes)));
  std::unique_ptr<StoreBack> store(
      new StoreBack(cache, std::move(slots), std::move(staging), blocks, std::move(options)));
  store->Append(tokens);
  return store;
}

int64_t StoreBack::LeastStagingBytes(const ModelConfig& config, const StoreBackOptions& options) {
  return SlotsFor(config, options).block_bytes();
}

void StoreBack::Append(absl::Span<const int32_t> tokens) {
  tokens_.insert(tokens_.end(), tokens.begin(), tokens.end());
  blocks_.resize((static_cast<int64_t>(tokens_.size()) + block_tokens_ - 1) / block_tokens_);
  OfferNewBlocks();
}

void StoreBack::OfferNewBlocks() {
  const int64_t full = static_cast<int64_t>(tokens_.size()) / block_tokens_;
  const int64_t known = static_cast<int64_t>(chain_.size());
  if (full == known) return;
  const int64_t first = std::max(known, options_.first_row / block_tokens_);
  chain_ = ChainOf(options_.ns, tokens_);
  if (!status_.ok() || first >= full) return;
  for (int64_t begin = first; begin < full; begin += kMaxBlocksPerRequest) {
    if (absl::Status offered = OfferBlocks(begin, std::min<int64_t>(full, begin + kMaxBlocksPerRequest));
        !offered.ok()) {
      return Fail(offered);
    }
  }
}

absl::Status StoreBack::OfferBlocks(int64_t begin, int64_t end) {
  StoreOptions request;
  request.blocks.assign(chain_.begin() + begin, chain_.begin() + end);
  request.parent = begin == 0 ? options_.ns.bytes : chain_[begin - 1];
  request.first_position = static_cast<int>(begin);
  request.stripe_key = chain_[StripeStart(static_cast<uint32_t>(begin))];
  request.kv = Bits(options_.kv_layers);
  request.e = Bits(options_.e_layers);
  ASSIGN_OR_RETURN(std::unique_ptr<Store> store, cache_.client().StartStore(options_.ns, std::move(request)));
  for (int64_t block = begin; block < end; ++block) blocks_[block].offer = static_cast<int64_t>(offers_.size());
  offers_.push_back({std::move(store), begin});
  return absl::OkStatus();
}

// A block that is still growing is wanted until its offer has been answered.
bool StoreBack::Wants(const Block& block, int64_t index) const {
  if (index < options_.first_row / block_tokens_) return false;
  if (block.offer < 0) return true;
  const Offer& offer = offers_[block.offer];
  const BlockWants& wants = offer.store->wants()[index - offer.first_block];
  return AnyBit(wants.kv) || AnyBit(wants.e);
}

bool StoreBack::wants_any() const {
  for (size_t index = 0; index < blocks_.size(); ++index) {
    if (blocks_[index].offer >= 0 && Wants(blocks_[index], static_cast<int64_t>(index))) return true;
  }
  return false;
}

// Waits for the servers to have read what was sent.
void StoreBack::FreeSlots() {
  for (Offer& offer : offers_) {
    absl::Status status = offer.store->WaitFilled(absl::Now() + kStagingWait);
    if (absl::IsDeadlineExceeded(status)) return Fail(status);
    if (!status.ok()) Fail(status);
  }
  slots_.Reclaim();
}

bool StoreBack::TakesRows(int64_t index, int64_t layer, int64_t row, std::vector<int64_t>& complete) {
  Block& block = blocks_[index];
  if (block.state == Block::State::kUnseen) {
    block.state = Wants(block, index) ? Block::State::kWanted : Block::State::kUnwanted;
    if (block.state == Block::State::kWanted) block.places.resize(slots_.layers());
  }
  if (block.state != Block::State::kWanted) return false;
  Place& place = block.places[layer];
  // Rows may come twice, and never leave a gap that could be filled later.
  if (place.rows == block_tokens_ || row > index * block_tokens_ + place.rows) return false;
  if (place.slot >= 0) return true;
  std::optional<int64_t> slot = slots_.Take(layer);
  if (!slot) {
    Send(layer, complete);
    FreeSlots();
    slot = slots_.Take(layer);
  }
  if (!slot) {
    Fail(absl::ResourceExhaustedError("no staging memory left for storing"));
    return false;
  }
  place.slot = *slot;
  return true;
}

absl::Status StoreBack::OnLayer(const LayerKv& kv, int64_t row) {
  if (!slots_.Has(kv.layer)) return absl::OkStatus();
  // Exact rows may reach beyond the tokens that are stored (a suffix after an own prefix): those stay here.
  const int64_t end = std::min(row + kv.rows, static_cast<int64_t>(tokens_.size()));
  std::vector<int64_t> complete;
  for (int64_t index = row / block_tokens_; status_.ok() && index * block_tokens_ < end; ++index) {
    if (!TakesRows(index, kv.layer, row, complete)) continue;
    Place& place = blocks_[index].places[kv.layer];
    slots_.Copy(place.slot, index * block_tokens_, kv, row);
    place.rows = std::max(place.rows, std::min(end - index * block_tokens_, block_tokens_));
    if (place.rows == block_tokens_) complete.push_back(index);
  }
  if (status_.ok()) Send(kv.layer, complete);
  return absl::OkStatus();
}

void StoreBack::Send(int64_t layer, std::vector<int64_t>& blocks) {
  if (blocks.empty()) return;
  const std::vector<TransferItem> items = slots_.Items(layer);
  for (size_t begin = 0; begin < blocks.size();) {
    const int64_t offer = blocks_[blocks[begin]].offer;
    std::vector<int> indices;
    std::vector<uint32_t> slots;
    size_t end = begin;
    for (; end < blocks.size() && blocks_[blocks[end]].offer == offer; ++end) {
      const int64_t slot = std::exchange(blocks_[blocks[end]].places[layer].slot, -1);
      indices.push_back(static_cast<int>(blocks[end] - (offer < 0 ? 0 : offers_[offer].first_block)));
      slots.push_back(static_cast<uint32_t>(slot));
      slots_.Sent(layer, slot);
    }
    if (offer >= 0) {
      const absl::Status status = offers_[offer].store->Fill(items, indices, slots);
      if (!status.ok()) return Fail(status);
    }
    begin = end;
  }
  blocks.clear();
}

absl::Status StoreBack::Finish(bool durable, absl::Time deadline) {
  for (Offer& offer : offers_) {
    if (absl::Status status = offer.store->WaitFilled(deadline); !status.ok()) Fail(status);
    if (absl::Status status = offer.store->Seal(durable, deadline); !status.ok()) Fail(status);
  }
  return status_;
}

void StoreBack::Fail(const absl::Status& status) {
  if (status_.ok()) spdlog::warn("storing: {}", std::string(status.message()));
  status_.Update(status);
}

}  // namespace droidspeak
