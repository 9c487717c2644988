// SPDX-License-Identifier: Apache-2.0
// Flipped bits on disk and in memory: all found, counted, and misses from then on.
#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>
#include <set>

#include "absl/strings/str_cat.h"
#include "common/key/checksum.h"
#include "gtest/gtest.h"
#include "tests/cacheserver/store/store_fixture.h"
#include "tests/support/count.h"

namespace droidspeak::testing {
namespace {

constexpr size_t kFlipsARound = 100;

class CorruptionTest : public ::testing::Test {
 protected:
  StoreOptions Options() {
    StoreOptions options;
    options.host_pool_bytes = 32 << 20;
    options.spill_dir = folder_.path();
    options.spill_limit_bytes = 1 << 30;
    return options;
  }
  std::vector<std::filesystem::path> Files(const std::string& extension) const {
    std::vector<std::filesystem::path> files;
    for (const auto& entry : std::filesystem::directory_iterator(folder_.path() + "/rocksdb")) {
      if (entry.path().extension() == extension) files.push_back(entry.path());
    }
    std::sort(files.begin(), files.end());
    return files;
  }
  static std::string Contents(const std::filesystem::path& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  void FlipOnDisk(const std::filesystem::path& path, uint64_t at) {
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(static_cast<std::streamoff>(at));
    const int byte = file.get();
    file.seekp(static_cast<std::streamoff>(at));
    file.put(static_cast<char>(byte ^ (1 << (random_() % 8))));
  }

  const TempFolder folder_;
  std::mt19937_64 random_{7};
};

struct Value {
  std::filesystem::path path;
  uint64_t offset = 0;
  uint64_t bytes = 0;
};

// Where the extents lie in a blob file: a header of 30 bytes, then records of 32 bytes that begin with the lengths of
// key and value, key, value; then a footer of 32 bytes.
std::vector<Value> ValuesIn(const std::filesystem::path& path, const std::string& contents) {
  constexpr uint64_t kFileHeader = 30, kRecordHeader = 32, kFooter = 32;
  std::vector<Value> values;
  for (uint64_t at = kFileHeader; at + kRecordHeader + kFooter < contents.size();) {
    uint64_t lengths[2];
    std::memcpy(lengths, contents.data() + at, sizeof(lengths));
    values.push_back({path, at + kRecordHeader + lengths[0], lengths[1]});
    at += kRecordHeader + lengths[0] + lengths[1];
  }
  return values;
}

TEST_F(CorruptionTest, FlipsInBlobFilesBecomeCountedMisses) {
  const int flips = Count(100, 1000);
  const Chain chain(1, 24);
  for (int done = 0; done < flips; done += kFlipsARound) {
    auto store = std::make_unique<TestStore>(Options());
    (*store)->Remove(kTenant, store->space(), chain.hashes());
    ASSERT_TRUE(store->FillAll(chain, true).ok());
    store.reset();
    std::vector<Value> values;
    for (const auto& path : Files(".blob")) {
      const std::vector<Value> more = ValuesIn(path, Contents(path));
      values.insert(values.end(), more.begin(), more.end());
    }
    ASSERT_GE(values.size(), chain.offered.size() * kExtentsABlock);
    // The last written: earlier ones may be what was removed.
    values.erase(values.begin(), values.end() - static_cast<int64_t>(chain.offered.size() * kExtentsABlock));
    std::shuffle(values.begin(), values.end(), random_);
    values.resize(kFlipsARound);
    for (const Value& value : values) FlipOnDisk(value.path, value.offset + random_() % value.bytes);

    store = std::make_unique<TestStore>(Options());
    const size_t exact = CountExact(*store, chain);
    EXPECT_EQ(exact, chain.offered.size() * kExtentsABlock - kFlipsARound) << "every flip was found";
    EXPECT_EQ((*store)->stats().checksum_errors, kFlipsARound);
    EXPECT_EQ(CountExact(*store, chain), exact) << "what was found corrupt is gone";
    ASSERT_TRUE(store->FillAll(chain).ok());
    EXPECT_EQ(CountExact(*store, chain), chain.offered.size() * kExtentsABlock) << "and can be stored again";
  }
}

TEST_F(CorruptionTest, FlipsInDirectoryRowsCostTheirBlocksAlone) {
  const int flips = Count(10, 100);
  const Chain chain(1, 24);
  for (int done = 0; done < flips; ++done) {
    std::filesystem::remove_all(folder_.path() + "/rocksdb");
    auto store = std::make_unique<TestStore>(Options());
    ASSERT_TRUE(store->Fill(chain.offered, Layers({1}), {}, true).ok());
    store.reset();
    // A row begins with the hash of the block before.
    const std::string needle(chain.offered[1 + random_() % 23].parent.view());
    size_t found = 0;
    for (const auto& path : Files(".sst")) {
      const std::string contents = Contents(path);
      for (size_t at = contents.find(needle); at != std::string::npos; at = contents.find(needle, at + 1)) {
        FlipOnDisk(path, at + random_() % needle.size());
        ++found;
      }
    }
    ASSERT_GT(found, 0);
    store = std::make_unique<TestStore>(Options());
    const size_t exact = CountExact(*store, chain);
    EXPECT_LT(exact, chain.offered.size());
    EXPECT_GE(exact + 3, chain.offered.size());
  }
}

TEST_F(CorruptionTest, FlipsInMemoryAreFoundByTheReaderAndAfterASpill) {
  const int flips = Count(100, 1000);
  int found = 0;
  int done = 0;
  for (; done < flips; done += kFlipsARound) {
    std::filesystem::remove_all(folder_.path() + "/rocksdb");
    TestStore store(Options());
    const Chain chain(1, 6);
    ASSERT_TRUE(store.FillAll(chain).ok());
    std::set<std::pair<size_t, size_t>> flipped;
    const std::vector<ExtentSelector> selectors = Selectors(AllLayers(), AllLayers());
    while (flipped.size() < kFlipsARound) flipped.emplace(random_() % 6, random_() % selectors.size());
    for (const auto& [block, which] : flipped) {
      const Digest& hash = chain.offered[block].hash;
      const ExtentSelector extent = selectors[which];
      const Acquired acquired = store->Acquire(kTenant, store.space(), {&hash, 1}, {&extent, 1});
      ASSERT_EQ(acquired.references.size(), 1);
      const std::optional<HostExtent> host = store->ReadHost(acquired.references, 0, extent);
      ASSERT_TRUE(host.has_value());
      const_cast<std::byte*>(host->data())[random_() % host->bytes()] ^= std::byte(1 << (random_() % 8));
      const absl::Span<const std::byte> bytes(host->data(), host->bytes());
      found += ExtentChecksum({hash, extent.kind, extent.layer}, bytes) != host->checksum() ? 1 : 0;
    }
    store.Restart();  // spills what is in memory, with the checksums that its bytes had
    EXPECT_EQ(CountExact(store, chain), 6 * kExtentsABlock - kFlipsARound);
    EXPECT_EQ(store->stats().checksum_errors, kFlipsARound);
  }
  EXPECT_EQ(found, done);
}

}  // namespace
}  // namespace droidspeak::testing
