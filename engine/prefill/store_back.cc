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

// Layers with KV or E in a unit.
int64_t CountLayers(const ExtentUnit& unit) {
  int64_t count = 0;
  for (int64_t layer = 0; layer < unit.layers(); ++layer) {
    count += unit.kv_offset(layer) != ExtentUnit::kAbsent || unit.e_offset(layer) != ExtentUnit::kAbsent;
  }
  return count;
}

}  // namespace

struct StoreBack::Block {
  enum class State { kUnseen, kUnwanted, kGrowing, kSent };
  State state = State::kUnseen;
  int64_t unit = -1;
  int64_t offer = -1;  // -1: not full yet, or no server was asked
  int64_t layers_sent = 0;
  std::vector<int64_t> rows = {};  // by layer: leading rows copied
};

StoreBack::StoreBack(RemoteCache& cache, ExtentUnit unit, Staging staging, StoreBackOptions options)
    : cache_(cache),
      unit_(std::move(unit)),
      staging_(std::move(staging)),
      options_(std::move(options)),
      layers_to_send_(CountLayers(unit_)) {
  for (int64_t index = units(); index-- > 0;) free_units_.push_back(index);
}

StoreBack::~StoreBack() {
  for (Offer& offer : offers_) {
    if (absl::IsDeadlineExceeded(offer.store->WaitFilled(absl::Now() + absl::Seconds(1)))) staging_.Abandon();
  }
}

absl::StatusOr<std::unique_ptr<StoreBack>> StoreBack::Start(RemoteCache& cache, const ModelConfig& config,
                                                            absl::Span<const int32_t> tokens,
                                                            StoreBackOptions options) {
  const Layout& layout = options.ns.layout;
  ExtentUnit unit(config, layout.kv, layout.block_tokens, options.kv_layers, options.e_layers);
  if (unit.unit_bytes() == 0) return absl::InvalidArgumentError("no layers to store");
  // One more than the sequence has full blocks: the one that decoding fills.
  const int64_t blocks = static_cast<int64_t>(tokens.size()) / unit.block_tokens() + 1;
  const int64_t units = std::clamp<int64_t>(options.max_staging_bytes / unit.unit_bytes(), 1, blocks);
  ASSIGN_OR_RETURN(Staging staging, cache.AllocateStaging(static_cast<uint64_t>(units * unit.unit_bytes())));
  std::unique_ptr<StoreBack> store(new StoreBack(cache, std::move(unit), std::move(staging), std::move(options)));
  store->Append(tokens);
  return store;
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

bool StoreBack::TakeUnit(Block& block) {
  if (free_units_.empty()) FreeUnits();
  if (free_units_.empty()) return false;
  block.unit = free_units_.back();
  free_units_.pop_back();
  block.rows.assign(unit_.layers(), 0);
  block.state = Block::State::kGrowing;
  return true;
}

// Waits for the servers to have read what was sent, and takes the memory of blocks that were sent wholly.
void StoreBack::FreeUnits() {
  for (Offer& offer : offers_) {
    absl::Status status = offer.store->WaitFilled(absl::Now() + kStagingWait);
    if (absl::IsDeadlineExceeded(status)) return Fail(status);
    if (!status.ok()) Fail(status);
  }
  for (Block& block : blocks_) {
    if (block.state != Block::State::kSent || block.unit < 0) continue;
    free_units_.push_back(std::exchange(block.unit, -1));
  }
}

absl::Status StoreBack::OnLayer(const LayerKv& kv, int64_t row) {
  if (!status_.ok()) return absl::OkStatus();
  const bool offered =
      unit_.kv_offset(kv.layer) != ExtentUnit::kAbsent || unit_.e_offset(kv.layer) != ExtentUnit::kAbsent;
  if (!offered) return absl::OkStatus();
  // Exact rows may reach beyond the tokens that are stored (a suffix after an own prefix): those stay here.
  const int64_t block_tokens = unit_.block_tokens();
  const int64_t end = std::min(row + kv.rows, static_cast<int64_t>(tokens_.size()));
  std::vector<int64_t> complete;
  for (int64_t index = row / block_tokens; index * block_tokens < end; ++index) {
    Block& block = blocks_[index];
    if (block.state == Block::State::kUnseen) {
      if (!Wants(block, index)) {
        block.state = Block::State::kUnwanted;
      } else if (!TakeUnit(block)) {
        Fail(absl::ResourceExhaustedError("no staging memory left for storing"));
        return absl::OkStatus();
      }
    }
    if (block.state != Block::State::kGrowing) continue;
    // Rows may come twice, and never leave a gap that could be filled later.
    int64_t& rows = block.rows[kv.layer];
    if (rows == block_tokens || row > index * block_tokens + rows) continue;
    CopyIntoUnit(unit_, Memory(block.unit), index * block_tokens, kv, row);
    rows = std::max(rows, std::min(end - index * block_tokens, block_tokens));
    if (rows == block_tokens) complete.push_back(index);
  }
  if (!complete.empty()) Send(kv.layer, complete);
  return absl::OkStatus();
}

void StoreBack::Send(int64_t layer, const std::vector<int64_t>& blocks) {
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
  for (size_t begin = 0; begin < blocks.size();) {
    const int64_t offer = blocks_[blocks[begin]].offer;
    std::vector<int> indices;
    std::vector<uint32_t> slots;
    size_t end = begin;
    for (; end < blocks.size() && blocks_[blocks[end]].offer == offer; ++end) {
      Block& block = blocks_[blocks[end]];
      indices.push_back(static_cast<int>(blocks[end] - (offer < 0 ? 0 : offers_[offer].first_block)));
      slots.push_back(static_cast<uint32_t>(block.unit));
      if (++block.layers_sent == layers_to_send_) block.state = Block::State::kSent;
    }
    if (offer >= 0) {
      const absl::Status status = offers_[offer].store->Fill(items, indices, slots);
      if (!status.ok()) return Fail(status);
    }
    begin = end;
  }
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

std::byte* StoreBack::Memory(int64_t unit) const {
  return staging_.region().data() + unit * unit_.unit_bytes();
}

}  // namespace droidspeak
