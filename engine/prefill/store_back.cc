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

ExtentUnit SlotOf(const ModelConfig& config, const StoreBackOptions& options) {
  const Layout& layout = options.ns.layout;
  return ExtentUnit::OfOneLayer(config, layout.kv, layout.block_tokens, options.kv_layers, options.e_layers);
}

// Layers of which there is something to store.
int64_t CountLayers(const ExtentUnit& unit) {
  int64_t count = 0;
  for (int64_t layer = 0; layer < unit.layers(); ++layer) count += unit.has(layer) ? 1 : 0;
  return count;
}

}  // namespace

StoreBack::StoreBack(RemoteCache& cache, ExtentUnit unit, Staging staging, StoreBackOptions options)
    : cache_(cache), unit_(std::move(unit)), staging_(std::move(staging)), options_(std::move(options)) {
  const int64_t slots = static_cast<int64_t>(staging_.region().bytes()) / unit_.unit_bytes();
  for (int64_t slot = slots; slot-- > 0;) free_slots_.push_back(slot);
}

StoreBack::~StoreBack() {
  for (Offer& offer : offers_) {
    if (absl::IsDeadlineExceeded(offer.store->WaitFilled(absl::Now() + absl::Seconds(1)))) staging_.Abandon();
  }
}

absl::StatusOr<std::unique_ptr<StoreBack>> StoreBack::Start(RemoteCache& cache, const ModelConfig& config,
                                                            absl::Span<const int32_t> tokens,
                                                            StoreBackOptions options) {
  ExtentUnit unit = SlotOf(config, options);
  if (unit.unit_bytes() == 0) return absl::InvalidArgumentError("no layers to store");
  // One more than the sequence has full blocks: the one that decoding fills.
  const int64_t blocks = static_cast<int64_t>(tokens.size()) / unit.block_tokens() + 1;
  const int64_t layers = CountLayers(unit);
  const int64_t slots = std::clamp(options.max_staging_bytes / unit.unit_bytes(), layers, blocks * layers);
  ASSIGN_OR_RETURN(Staging staging, cache.AllocateStaging(static_cast<uint64_t>(slots * unit.unit_bytes())));
  std::unique_ptr<StoreBack> store(new StoreBack(cache, std::move(unit), std::move(staging), std::move(options)));
  store->Append(tokens);
  return store;
}

int64_t StoreBack::LeastStagingBytes(const ModelConfig& config, const StoreBackOptions& options) {
  const ExtentUnit unit = SlotOf(config, options);
  return CountLayers(unit) * unit.unit_bytes();
}

void StoreBack::Append(absl::Span<const int32_t> tokens) {
  tokens_.insert(tokens_.end(), tokens.begin(), tokens.end());
  blocks_.resize((static_cast<int64_t>(tokens_.size()) + unit_.block_tokens() - 1) / unit_.block_tokens());
  OfferNewBlocks();
}

void StoreBack::OfferNewBlocks() {
  const int64_t full = static_cast<int64_t>(tokens_.size()) / unit_.block_tokens();
  const int64_t known = static_cast<int64_t>(chain_.size());
  if (full == known) return;
  const int64_t first = std::max(known, options_.first_row / unit_.block_tokens());
  chain_ = ChainOf(options_.ns, tokens_);
  if (!status_.ok() || first >= full) return;
  StoreOptions request;
  request.blocks.assign(chain_.begin() + first, chain_.end());
  request.parent = first == 0 ? options_.ns.bytes : chain_[first - 1];
  request.first_position = static_cast<int>(first);
  request.stripe_key = chain_[StripeStart(static_cast<uint32_t>(first))];
  request.kv = Bits(options_.kv_layers);
  request.e = Bits(options_.e_layers);
  absl::StatusOr<std::unique_ptr<Store>> store = cache_.client().StartStore(options_.ns, std::move(request));
  if (!store.ok()) return Fail(store.status());
  for (int64_t block = first; block < full; ++block) blocks_[block].offer = static_cast<int64_t>(offers_.size());
  offers_.push_back({*std::move(store), first});
}

// A block that is still growing is wanted until its offer has been answered.
bool StoreBack::Wants(const Block& block, int64_t index) const {
  if (index < options_.first_row / unit_.block_tokens()) return false;
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
  free_slots_.insert(free_slots_.end(), sent_slots_.begin(), sent_slots_.end());
  sent_slots_.clear();
}

bool StoreBack::TakesRows(int64_t index, int64_t layer, int64_t row, std::vector<int64_t>& complete) {
  Block& block = blocks_[index];
  if (block.state == Block::State::kUnseen) {
    block.state = Wants(block, index) ? Block::State::kWanted : Block::State::kUnwanted;
    if (block.state == Block::State::kWanted) block.places.resize(unit_.layers());
  }
  if (block.state != Block::State::kWanted) return false;
  Place& place = block.places[layer];
  // Rows may come twice, and never leave a gap that could be filled later.
  if (place.rows == unit_.block_tokens() || row > index * unit_.block_tokens() + place.rows) return false;
  if (place.slot >= 0) return true;
  if (free_slots_.empty()) {
    Send(layer, complete);
    FreeSlots();
  }
  if (free_slots_.empty()) {
    Fail(absl::ResourceExhaustedError("no staging memory left for storing"));
    return false;
  }
  place.slot = free_slots_.back();
  free_slots_.pop_back();
  return true;
}

absl::Status StoreBack::OnLayer(const LayerKv& kv, int64_t row) {
  if (!unit_.has(kv.layer)) return absl::OkStatus();
  // Exact rows may reach beyond the tokens that are stored (a suffix after an own prefix): those stay here.
  const int64_t block_tokens = unit_.block_tokens();
  const int64_t end = std::min(row + kv.rows, static_cast<int64_t>(tokens_.size()));
  std::vector<int64_t> complete;
  for (int64_t index = row / block_tokens; status_.ok() && index * block_tokens < end; ++index) {
    if (!TakesRows(index, kv.layer, row, complete)) continue;
    Place& place = blocks_[index].places[kv.layer];
    CopyIntoUnit(unit_, Memory(place.slot), index * block_tokens, kv, row);
    place.rows = std::max(place.rows, std::min(end - index * block_tokens, block_tokens));
    if (place.rows == block_tokens) complete.push_back(index);
  }
  if (status_.ok()) Send(kv.layer, complete);
  return absl::OkStatus();
}

void StoreBack::Send(int64_t layer, std::vector<int64_t>& blocks) {
  const std::vector<TransferItem> items = ItemsOf(layer);
  for (size_t begin = 0; begin < blocks.size();) {
    const int64_t offer = blocks_[blocks[begin]].offer;
    std::vector<int> indices;
    std::vector<uint32_t> slots;
    size_t end = begin;
    for (; end < blocks.size() && blocks_[blocks[end]].offer == offer; ++end) {
      const int64_t slot = std::exchange(blocks_[blocks[end]].places[layer].slot, -1);
      indices.push_back(static_cast<int>(blocks[end] - (offer < 0 ? 0 : offers_[offer].first_block)));
      slots.push_back(static_cast<uint32_t>(slot));
      sent_slots_.push_back(slot);
    }
    if (offer >= 0) {
      const absl::Status status = offers_[offer].store->Fill(items, indices, slots);
      if (!status.ok()) return Fail(status);
    }
    begin = end;
  }
  blocks.clear();
}

std::vector<TransferItem> StoreBack::ItemsOf(int64_t layer) const {
  std::vector<TransferItem> items;
  TransferItem item;
  item.layer = static_cast<int>(layer);
  item.region = &staging_.region();
  item.slot_stride = static_cast<uint64_t>(unit_.unit_bytes());
  if (const int64_t offset = unit_.kv_offset(layer); offset != ExtentUnit::kAbsent) {
    item.kind = Kind::kKv;
    item.first = static_cast<uint64_t>(offset);
    item.second = item.first + static_cast<uint64_t>(unit_.kv_bytes() / 2);
    items.push_back(item);
  }
  if (const int64_t offset = unit_.e_offset(layer); offset != ExtentUnit::kAbsent) {
    item.kind = Kind::kE;
    item.first = static_cast<uint64_t>(offset);
    item.second = item.first;
    items.push_back(item);
  }
  return items;
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

std::byte* StoreBack::Memory(int64_t slot) const {
  return staging_.region().data() + slot * unit_.unit_bytes();
}

}  // namespace droidspeak
