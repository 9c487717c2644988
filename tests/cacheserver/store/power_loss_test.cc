// SPDX-License-Identifier: Apache-2.0
// Power lost at random points while a store is filled, spills and seals durably; then a start from what survived.
#include <algorithm>
#include <atomic>
#include <filesystem>
#include <iostream>
#include <random>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "gtest/gtest.h"
#include "rocksdb/env.h"
#include "tests/cacheserver/store/faulty_file_system.h"
#include "tests/cacheserver/store/store_fixture.h"
#include "tests/support/count.h"

namespace droidspeak::testing {
namespace {

constexpr size_t kBlocks = 4;
constexpr uint64_t kMostOperations = 400;  // of the file system, until power is lost
constexpr uint64_t kMostChains = 40;       // filled until then
constexpr int kCyclesADisk = 10;

class PowerLossTest : public ::testing::Test {
 protected:
  StoreOptions Options(const std::string& disk, rocksdb::Env* env) {
    StoreOptions options;
    options.host_pool_bytes = 16 << 20;  // less than is filled: extents are evicted to disk
    options.spill_dir = disk;
    options.spill_limit_bytes = 1 << 30;  // more than is filled: nothing leaves the disk
    options.env = env;
    return options;
  }

  // Fills `disk` until power is lost; `after` is the disk then.
  void FillUntilPowerLoss(const std::string& disk, const std::string& after) {
    auto system = std::make_shared<FaultyFileSystem>(disk + "-shadow");
    if (std::filesystem::exists(disk + "/rocksdb")) system->Adopt(disk + "/rocksdb");
    const std::unique_ptr<rocksdb::Env> env = rocksdb::NewCompositeEnv(system);
    const uint64_t seed = random_();
    std::atomic<bool> lost{false};
    const auto lose_power = [&] {
      {
        absl::MutexLock lock(&mutex_);
        promised_ = acknowledged_;
      }
      std::mt19937_64 random(seed);
      system->CopySurvivors(disk + "/rocksdb", after + "/rocksdb", seed % 2 == 0 ? &random : nullptr);
      lost = true;
    };
    system->After(static_cast<int64_t>(1 + random_() % kMostOperations), lose_power);
    TestStore store(Options(disk, env.get()));
    for (uint64_t i = 0; i < kMostChains && !lost; ++i) {
      const bool durable = random_() % 2 == 0;
      filled_.push_back(++last_chain_);
      const absl::Status sealed = store.FillAll(Chain(last_chain_, kBlocks), durable);
      ASSERT_TRUE(sealed.ok()) << sealed;
      absl::MutexLock lock(&mutex_);
      if (durable) acknowledged_.push_back(last_chain_);
    }
    system->After(0, [] {});
    if (!lost) lose_power();
  }

  // Every byte that the disk gives is right, and all that was promised is there.
  void Check(const std::string& disk) {
    TestStore store(Options(disk, nullptr));
    for (const uint64_t seed : filled_) {
      const size_t found = CountExact(store, Chain(seed, kBlocks));
      if (std::find(promised_.begin(), promised_.end(), seed) == promised_.end()) continue;
      EXPECT_EQ(found, kBlocks * kExtentsABlock) << "chain " << seed << " was acknowledged as durable";
      checked_extents_ += found;
    }
    EXPECT_EQ(store->stats().checksum_errors, 0) << "rows never reach the disk before their extents";
    absl::MutexLock lock(&mutex_);
    acknowledged_ = promised_;
  }

  const TempFolder folder_;
  std::mt19937_64 random_{11};
  absl::Mutex mutex_;
  std::vector<uint64_t> acknowledged_;
  std::vector<uint64_t> promised_;  // had been acknowledged when power was lost
  std::vector<uint64_t> filled_;
  uint64_t last_chain_ = 0;
  size_t checked_extents_ = 0;
};

TEST_F(PowerLossTest, KeepsWhatWasAcknowledgedAsDurableAndNoWrongBytes) {
  const int cycles = Count(10, 200);
  std::string disk;
  for (int cycle = 0; cycle < cycles && !HasFailure(); ++cycle) {
    if (cycle % kCyclesADisk == 0) {
      disk = absl::StrCat(folder_.path(), "/disk-", cycle);
      filled_.clear();
      acknowledged_.clear();
    }
    SCOPED_TRACE(absl::StrCat("cycle ", cycle));
    const std::string after = absl::StrCat(folder_.path(), "/after-", cycle);
    FillUntilPowerLoss(disk, after);
    std::filesystem::remove_all(disk);
    std::filesystem::remove_all(disk + "-shadow");
    disk = after;
    Check(disk);
  }
  std::cout << cycles << " losses of power, " << checked_extents_ << " durable extents read back\n";
  EXPECT_GT(checked_extents_, 0);
}

}  // namespace
}  // namespace droidspeak::testing
