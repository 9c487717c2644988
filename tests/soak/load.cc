// SPDX-License-Identifier: Apache-2.0
#include "tests/soak/load.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <thread>
#include <utility>

#include "absl/time/clock.h"
#include "common/base/status.h"
#include "common/key/digest.h"

namespace droidspeak::soak {
namespace {

constexpr absl::Duration kPatience = absl::Seconds(30);
constexpr uint32_t kChains = 64;  // that are asked for again and again: 256 MiB
constexpr int kBlocks = 32;
constexpr uint32_t kFirstFresh = 1'000'000;

// 4 layers, KV extents of 32 KiB.
Layout SoakLayout() {
  return *Layout::Parse("v1;layers=4;kv_heads=2;head_dim=64;hidden=128;block_tokens=64;kv=bf16;e=bf16;key=pre-rope");
}

// The first and last words of an extent say whose they are.
uint64_t Word(uint32_t chain, int layer, int block) {
  return (uint64_t{chain} << 32 | static_cast<uint64_t>(layer) << 16 | static_cast<uint64_t>(block)) *
         0x9E3779B97F4A7C15u;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Load>> Load::Create(const std::string& server, const std::string& transport,
                                                   uint64_t seed) {
  ClientOptions options;
  options.servers = {{"", server}};
  options.transport = transport;
  options.request_timeout = kPatience;
  ASSIGN_OR_RETURN(std::unique_ptr<Client> client, Client::Connect(options));
  ASSIGN_OR_RETURN(NamespaceHandle ns, client->OpenNamespace(Sha256Of("soak"), nullptr, SoakLayout()));
  std::unique_ptr<Load> load(new Load(std::move(client), std::move(ns), seed));
  const uint64_t bytes = load->ns_.layout.layers * kBlocks * load->ns_.layout.kv_bytes();
  ASSIGN_OR_RETURN(load->sources_, load->client_->AllocateRegion(bytes));
  ASSIGN_OR_RETURN(load->destinations_, load->client_->AllocateRegion(bytes));
  load->fresh_ = kFirstFresh * static_cast<uint32_t>(seed);
  return load;
}

std::vector<TransferItem> Load::Items() const {
  std::vector<TransferItem> items;
  const uint64_t extent = ns_.layout.kv_bytes();
  for (int layer = 0; layer < static_cast<int>(ns_.layout.layers); ++layer) {
    const uint64_t base = layer * kBlocks * extent;
    items.push_back({Kind::kKv, layer, nullptr, base, base + ns_.layout.k_bytes(), extent});
  }
  return items;
}

void Load::StoreChain(uint32_t chain) {
  const uint64_t extent = ns_.layout.kv_bytes();
  std::vector<TransferItem> items = Items();
  for (TransferItem& item : items) {
    item.region = sources_.get();
    for (int block = 0; block < kBlocks; ++block) {
      std::byte* const at = sources_->data() + item.first + block * extent;
      const uint64_t word = Word(chain, item.layer, block);
      std::memcpy(at, &word, sizeof word);
      std::memcpy(at + extent - sizeof word, &word, sizeof word);
    }
  }
  StoreOptions options;
  options.blocks =
      BlockHashes(ns_.bytes, std::vector<uint32_t>(kBlocks * ns_.layout.block_tokens, chain), ns_.layout.block_tokens);
  options.parent = ns_.bytes;
  options.kv[0] = (uint64_t{1} << ns_.layout.layers) - 1;
  std::vector<uint32_t> slots(kBlocks);
  std::iota(slots.begin(), slots.end(), 0);
  const auto store = client_->StartStore(ns_, std::move(options));
  absl::Status stored = store.status();
  if (stored.ok()) stored = (*store)->Fill(items, std::vector<int>(slots.begin(), slots.end()), slots);
  if (stored.ok()) stored = (*store)->Seal(/*durable=*/false, absl::Now() + kPatience);
  if (stored.ok()) return;
  absl::MutexLock lock(&mutex_);
  ++tally_.failed;
}

bool Load::FetchChain(uint32_t chain, Tally& tally) {
  FetchOptions options;
  options.items = Items();
  for (TransferItem& item : options.items) item.region = destinations_.get();
  const std::vector<TransferItem> items = options.items;
  options.blocks =
      BlockHashes(ns_.bytes, std::vector<uint32_t>(kBlocks * ns_.layout.block_tokens, chain), ns_.layout.block_tokens);
  options.slots.resize(kBlocks);
  std::iota(options.slots.begin(), options.slots.end(), 0);
  options.deadline = kPatience;
  const auto fetch = client_->StartFetch(ns_, std::move(options));
  if (!fetch.ok()) return false;
  bool whole = true;
  const uint64_t extent = ns_.layout.kv_bytes();
  for (size_t i = 0; i < items.size(); ++i) {
    const int good = (*fetch)->Wait(static_cast<int>(i), kBlocks, absl::Now() + kPatience);
    whole &= good == kBlocks;
    for (int block = 0; block < good; ++block) {
      const std::byte* const at = destinations_->data() + items[i].first + block * extent;
      const uint64_t word = Word(chain, items[i].layer, block);
      const bool right =
          std::memcmp(at, &word, sizeof word) == 0 && std::memcmp(at + extent - sizeof word, &word, sizeof word) == 0;
      tally.wrong += right ? 0 : 1;
    }
  }
  return whole;
}

void Load::Prepare() {
  for (uint32_t chain = 0; chain < kChains; ++chain) StoreChain(chain);
}

void Load::Operate(absl::Time due) {
  Tally now;
  if (random_() % 10 == 0) {
    StoreChain(++fresh_);
  } else {
    // Some are asked for more often than others.
    const auto chain = static_cast<uint32_t>(std::min(random_() % kChains, random_() % kChains));
    const bool hit = FetchChain(chain, now);
    ++(hit ? now.hits : now.misses);
    if (!hit) StoreChain(chain);
  }
  const double milliseconds = absl::ToDoubleMilliseconds(absl::Now() - due);
  absl::MutexLock lock(&mutex_);
  tally_.milliseconds.push_back(milliseconds);
  tally_.hits += now.hits;
  tally_.misses += now.misses;
  tally_.wrong += now.wrong;
}

void Load::Run(absl::Time end, double operations_per_second) {
  std::exponential_distribution<double> pause(operations_per_second > 0 ? operations_per_second : 1);
  absl::Time due = absl::Now();
  while (absl::Now() < end) {
    if (operations_per_second > 0) {
      due += absl::Seconds(pause(random_));
      std::this_thread::sleep_until(absl::ToChronoTime(due));
    } else {
      due = absl::Now();
    }
    Operate(due);
  }
}

Tally Load::TakeTally() {
  absl::MutexLock lock(&mutex_);
  return std::exchange(tally_, {});
}

}  // namespace droidspeak::soak
