// SPDX-License-Identifier: Apache-2.0
#include "bench/cache/index_growth.h"

#include <unistd.h>

#include <cstring>
#include <fstream>
#include <iostream>
#include <random>

#include "absl/time/clock.h"
#include "cacheserver/index/index.h"

namespace droidspeak::bench {
namespace {

constexpr uint32_t kLayers = 32;
constexpr uint32_t kTenant = 0;
constexpr uint32_t kNamespace = 0;
constexpr uint64_t kChainBlocks = 64;
// Blocks asked for a round: many more than one core's caches hold entries of.
constexpr uint64_t kLookups = 1 << 19;
constexpr uint64_t kQuestionBlocks = 1024;

// The hash of block `number`: as random as a real one, and the same every time.
Digest HashOf(uint64_t number) {
  Digest digest;
  for (size_t word = 0; word < 4; ++word) {  // splitmix64
    uint64_t z = (number * 4 + word + 1) * 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    z ^= z >> 31;
    std::memcpy(digest.bytes.data() + word * sizeof z, &z, sizeof z);
  }
  return digest;
}

uint64_t ResidentBytes() {
  std::ifstream file("/proc/self/statm");
  uint64_t total = 0;
  uint64_t resident = 0;
  file >> total >> resident;
  return resident * static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
}

void Insert(Index& index, uint64_t number) {
  const uint64_t position = number % kChainBlocks;
  const BlockKey key{kTenant, HashOf(number)};
  Index::Locked shard = index.Lock(key);
  Block* const block = shard.Insert(key, kNamespace, position == 0 ? Digest{} : HashOf(number - 1),
                                    static_cast<uint32_t>(position), kLayers);
  block->Set(ExtentState::kHost, Kind::kKv, static_cast<uint32_t>(number % kLayers));
}

// Looks up what coverage questions do: as ExtentStore::Coverage.
double LookupNs(const Index& index, uint64_t blocks, std::mt19937_64& random) {
  std::vector<Digest> asked;
  asked.reserve(kLookups);
  while (asked.size() < kLookups) {
    const uint64_t first = random() % blocks / kChainBlocks * kChainBlocks;
    for (uint64_t i = first; i < std::min(first + kChainBlocks, blocks); ++i) asked.push_back(HashOf(i));
  }
  std::vector<wire::BlockCoverage> out(kLookups);
  const absl::Time start = absl::Now();
  for (size_t first = 0; first < kLookups; first += kQuestionBlocks) {
    index.FindEach(kTenant, absl::MakeSpan(asked).subspan(first, kQuestionBlocks), [&](size_t i, const Block* block) {
      if (block != nullptr) out[first + i] = {block->ReadyBits(Kind::kKv), block->ReadyBits(Kind::kE)};
    });
  }
  const absl::Duration took = absl::Now() - start;
  for (const wire::BlockCoverage& block : out) {
    if (block.kv[0] == 0) std::cerr << "cache coverage: a block that was inserted is not found\n";
  }
  return absl::ToDoubleNanoseconds(took) / kLookups;
}

}  // namespace

std::vector<IndexCosts> MeasureIndex(const std::vector<uint64_t>& sizes, int rounds) {
  std::vector<IndexCosts> all;
  std::mt19937_64 random(1);
  const uint64_t before = ResidentBytes();
  Index index;
  for (const uint64_t blocks : sizes) {
    IndexCosts costs;
    costs.blocks = blocks;
    const uint64_t known = index.blocks();
    const absl::Time start = absl::Now();
    for (uint64_t number = known; number < blocks; ++number) Insert(index, number);
    if (blocks > known) {
      costs.insert_ns = absl::ToDoubleNanoseconds(absl::Now() - start) / static_cast<double>(blocks - known);
    }
    const uint64_t now = ResidentBytes();
    costs.resident_bytes = static_cast<double>(now > before ? now - before : 0) / static_cast<double>(blocks);
    costs.counted_bytes = static_cast<double>(index.memory_bytes()) / static_cast<double>(blocks);
    LookupNs(index, blocks, random);  // warms up
    for (int i = 0; i < rounds; ++i) costs.lookup_ns.push_back(LookupNs(index, blocks, random));
    all.push_back(std::move(costs));
  }
  return all;
}

}  // namespace droidspeak::bench
