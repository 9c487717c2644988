// SPDX-License-Identifier: Apache-2.0
#include "bench/cache/load.h"

#include <cstring>
#include <numeric>
#include <random>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/status.h"

namespace droidspeak::bench {
namespace {

constexpr absl::Duration kLimit = absl::Seconds(120);

// kv_heads x head_dim x 2 (K and V) x 2 bytes = 4 KiB a token at most, so that small extents have few tokens.
Layout LayoutOf(const CacheShape& shape) {
  Layout layout;
  layout.layers = shape.layers;
  layout.kv_heads = 8;
  layout.head_dim = 128;
  layout.hidden = 1024;
  while (layout.kv_heads > 1 && shape.extent_bytes < 16ull * layout.kv_heads * layout.head_dim * 4)
    layout.kv_heads /= 2;
  layout.block_tokens = shape.extent_bytes / (uint64_t{layout.kv_heads} * layout.head_dim * 4);
  return layout;
}

}  // namespace

absl::StatusOr<std::unique_ptr<CacheLoad>> CacheLoad::Create(Client& client, const CacheShape& shape, uint32_t family) {
  const Layout layout = LayoutOf(shape);
  if (layout.kv_bytes() != shape.extent_bytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("--extent ", shape.extent_bytes, ": expected a power of two from 4 KiB to 16 MiB"));
  }
  Digest weights;
  weights.bytes.fill(0xb3);
  ASSIGN_OR_RETURN(NamespaceHandle ns, client.OpenNamespace(weights, nullptr, layout));
  ASSIGN_OR_RETURN(std::unique_ptr<Region> region, client.AllocateRegion(shape.total_bytes()));
  std::mt19937_64 random(1);
  for (uint64_t i = 0; i < shape.total_bytes(); i += sizeof(uint64_t)) {
    const uint64_t word = random();
    std::memcpy(region->data() + i, &word, sizeof word);
  }
  std::unique_ptr<CacheLoad> load(new CacheLoad(client, shape, family, std::move(ns), std::move(region)));
  load->slots_.resize(shape.blocks);
  std::iota(load->slots_.begin(), load->slots_.end(), 0);
  load->Choose(0);
  return load;
}

std::vector<TransferItem> CacheLoad::Items() const {
  std::vector<TransferItem> items;
  for (int layer = 0; layer < shape_.layers; ++layer) {
    const uint64_t base = static_cast<uint64_t>(layer) * shape_.blocks * shape_.extent_bytes;
    items.push_back({Kind::kKv, layer, region_.get(), base, base + shape_.extent_bytes / 2, shape_.extent_bytes});
  }
  return items;
}

uint32_t CacheLoad::NewFamily() {
  return std::random_device()();
}

void CacheLoad::Choose(uint32_t chain) {
  std::vector<uint32_t> tokens(static_cast<size_t>(shape_.blocks) * ns_.layout.block_tokens, chain);
  tokens.front() = family_;
  hashes_ = BlockHashes(ns_.bytes, tokens, ns_.layout.block_tokens);
}

absl::StatusOr<StoreTimes> CacheLoad::StoreNext() {
  Choose(next_chain_++);
  return Store();
}

absl::StatusOr<StoreTimes> CacheLoad::Store() {
  StoreOptions options;
  options.blocks = hashes_;
  options.parent = ns_.bytes;
  for (int layer = 0; layer < shape_.layers; ++layer) options.kv[layer / 64] |= uint64_t{1} << (layer % 64);
  const std::vector<int> blocks(slots_.begin(), slots_.end());
  StoreTimes times;
  const absl::Time start = absl::Now();
  ASSIGN_OR_RETURN(const std::unique_ptr<droidspeak::Store> store, client_.StartStore(ns_, std::move(options)));
  times.offer_seconds = absl::ToDoubleSeconds(absl::Now() - start);
  for (const TransferItem& item : Items()) RETURN_IF_ERROR(store->Fill({item}, blocks, slots_));
  RETURN_IF_ERROR(store->WaitFilled(absl::Now() + kLimit));
  const absl::Time filled = absl::Now();
  RETURN_IF_ERROR(store->Seal(/*durable=*/false, filled + kLimit));
  times.seal_seconds = absl::ToDoubleSeconds(absl::Now() - filled);
  times.seconds = absl::ToDoubleSeconds(absl::Now() - start);
  return times;
}

absl::StatusOr<FetchTimes> CacheLoad::Fetch(bool prefetch) {
  FetchOptions options;
  options.blocks = hashes_;
  options.slots = slots_;
  options.prefetch = prefetch;
  return Run(std::move(options));
}

absl::StatusOr<double> CacheLoad::FetchBlock(int block) {
  FetchOptions options;
  options.blocks = {hashes_[block]};
  options.first_position = block;
  options.stripe_key = hashes_[StripeStart(block)];
  options.slots = {slots_[block]};
  ASSIGN_OR_RETURN(const FetchTimes times, Run(std::move(options)));
  return times.seconds;
}

absl::StatusOr<FetchTimes> CacheLoad::Run(FetchOptions options) {
  options.items = Items();
  options.deadline = kLimit;
  const int blocks = static_cast<int>(options.blocks.size());
  FetchTimes times;
  const absl::Time start = absl::Now();
  ASSIGN_OR_RETURN(const std::unique_ptr<droidspeak::Fetch> fetch, client_.StartFetch(ns_, std::move(options)));
  for (int layer = 0; layer < shape_.layers; ++layer) {
    if (fetch->Wait(layer, blocks, start + kLimit) != blocks) {
      return absl::DataLossError(absl::StrCat("layer ", layer, " did not arrive whole"));
    }
    if (layer == 0) times.first_layer_seconds = absl::ToDoubleSeconds(absl::Now() - start);
  }
  times.seconds = absl::ToDoubleSeconds(absl::Now() - start);
  return times;
}

}  // namespace droidspeak::bench
