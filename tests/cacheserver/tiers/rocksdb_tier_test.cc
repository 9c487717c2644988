// SPDX-License-Identifier: Apache-2.0
#include "cacheserver/tiers/rocksdb_tier.h"

#include <dlfcn.h>
#include <stdlib.h>

#include <atomic>
#include <filesystem>
#include <string>
#include <utility>

#include "absl/synchronization/mutex.h"
#include "common/base/check.h"
#include "common/key/checksum.h"
#include "gtest/gtest.h"

// The one that RocksDB calls (cacheserver/tiers/rocksdb_options.cc).
namespace rocksdb::crc32c {
uint32_t Extend(uint32_t crc, const char* data, size_t bytes);
}

namespace droidspeak {
namespace {

TEST(Crc32cTest, IsThatOfTheLibrary) {
  const std::string text = "123456789";
  EXPECT_EQ(rocksdb::crc32c::Extend(0, text.data(), text.size()), 0xE3069283u) << "the check value of CRC-32C";
  using Extend = uint32_t (*)(uint32_t, const char*, size_t);
  const auto library = reinterpret_cast<Extend>(dlsym(RTLD_NEXT, "_ZN7rocksdb6crc32c6ExtendEjPKcm"));
  ASSERT_NE(library, nullptr);
  ASSERT_NE(library, &rocksdb::crc32c::Extend);
  std::string bytes(1000, '\0');
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>(i * i + 7);
  for (size_t first = 0; first < 20; ++first) {
    for (size_t count = 0; first + count < bytes.size(); count += 1 + count / 3) {
      const uint32_t crc = static_cast<uint32_t>(first * 2654435761u);
      EXPECT_EQ(rocksdb::crc32c::Extend(crc, bytes.data() + first, count), library(crc, bytes.data() + first, count));
    }
  }
}

constexpr ExtentSelector kExtent{Kind::kKv, 1};

class RocksdbTierTest : public ::testing::Test {
 protected:
  RocksdbTierTest() {
    std::string pattern = (std::filesystem::temp_directory_path() / "droidspeak-tier-XXXXXX").string();
    DROIDSPEAK_CHECK(mkdtemp(pattern.data()) != nullptr);
    folder_ = pattern;
    row_.block = {1, Sha256Of("block")};
    row_.layers = 4;
    row_.Add(kExtent, Checksum());
  }
  ~RocksdbTierTest() override {
    tier_.reset();
    std::filesystem::remove_all(folder_);
  }

  void Open(uint64_t limit = 1 << 30) {
    RecoveredStore recovered;
    recovered.on_namespace = [](const NamespaceRow&) {};
    recovered.on_block = [this](BlockRow row) {
      absl::MutexLock lock(&mutex_);
      rows_.push_back(std::move(row));
    };
    tier_.reset();
    rows_.clear();
    absl::StatusOr<std::unique_ptr<RocksdbTier>> tier = RocksdbTier::Open({folder_, limit, {}, nullptr}, recovered);
    ASSERT_TRUE(tier.ok()) << tier.status();
    tier_ = *std::move(tier);
  }
  absl::Span<const std::byte> bytes() const {
    return {reinterpret_cast<const std::byte*>(bytes_.data()), bytes_.size()};
  }
  uint64_t Checksum() const { return ExtentChecksum({row_.block.hash, kExtent.kind, kExtent.layer}, bytes()); }
  absl::Status Write(uint64_t checksum) {
    return tier_->Write(row_, {{{kExtent, bytes().data(), bytes_.size(), checksum}}});
  }
  absl::Status Read(uint64_t checksum, size_t size, std::string* out = nullptr) {
    std::string buffer(size, '\0');
    const absl::Status status =
        tier_->Read(row_.block, kExtent, checksum, {reinterpret_cast<std::byte*>(buffer.data()), buffer.size()});
    if (out != nullptr) *out = buffer;
    return status;
  }

  std::string folder_;
  const std::string bytes_ = std::string(100'000, 'a') + "end";
  BlockRow row_;
  absl::Mutex mutex_;
  std::vector<BlockRow> rows_;
  std::unique_ptr<RocksdbTier> tier_;
};

TEST_F(RocksdbTierTest, WrittenExtentIsReadAndItsRowRecovered) {
  Open();
  ASSERT_TRUE(Write(Checksum()).ok());
  std::string out;
  ASSERT_TRUE(Read(Checksum(), bytes_.size(), &out).ok());
  EXPECT_EQ(out, bytes_);
  Open();
  ASSERT_EQ(rows_.size(), 1);
  EXPECT_EQ(rows_[0].block, row_.block);
  EXPECT_EQ(rows_[0].checksums, row_.checksums);
  ASSERT_TRUE(Read(Checksum(), bytes_.size(), &out).ok());
  EXPECT_EQ(out, bytes_);
}

TEST_F(RocksdbTierTest, WrongChecksumLengthOrBytesAreDataLoss) {
  Open();
  ASSERT_TRUE(Write(Checksum()).ok());
  EXPECT_TRUE(absl::IsDataLoss(Read(Checksum() + 1, bytes_.size())));
  EXPECT_TRUE(absl::IsDataLoss(Read(Checksum(), bytes_.size() - 1)));
  // Bytes that are not what their header says.
  ASSERT_TRUE(Write(17).ok());
  EXPECT_TRUE(absl::IsDataLoss(Read(17, bytes_.size())));
}

TEST_F(RocksdbTierTest, RemovedExtentIsNotFoundAndItsEmptyRowIsGone) {
  Open();
  ASSERT_TRUE(Write(Checksum()).ok());
  BlockRow empty = row_;
  empty.bits = {};
  empty.checksums = {};
  ASSERT_TRUE(tier_->Remove(empty, {{kExtent}}).ok());
  EXPECT_TRUE(absl::IsNotFound(Read(Checksum(), bytes_.size())));
  Open();
  EXPECT_TRUE(rows_.empty());
}

TEST_F(RocksdbTierTest, WriteOverTheLimitIsRefusedWithoutDegrading) {
  Open(/*limit=*/50'000);
  EXPECT_TRUE(absl::IsResourceExhausted(Write(Checksum())));
  EXPECT_FALSE(tier_->degraded().has_value());
  EXPECT_TRUE(absl::IsNotFound(Read(Checksum(), bytes_.size())));
}

TEST_F(RocksdbTierTest, CompactionGivesRemovedExtentsSpaceBack) {
  Open();
  BlockRow row = row_;
  for (int i = 0; i < 200; ++i) {
    row.block.hash = Sha256Of(std::to_string(i));
    ASSERT_TRUE(tier_->Write(row, {{{kExtent, bytes().data(), bytes_.size(), 1}}}).ok());
  }
  ASSERT_TRUE(tier_->Sync().ok());
  EXPECT_GT(tier_->disk_bytes(), 200 * bytes_.size());
  row.bits = {};
  row.checksums = {};
  for (int i = 0; i < 150; ++i) {
    row.block.hash = Sha256Of(std::to_string(i));
    ASSERT_TRUE(tier_->Remove(row, {{kExtent}}).ok());
  }
  std::atomic<bool> never{false};
  ASSERT_TRUE(tier_->Compact(1.0, never).ok());
  EXPECT_LT(tier_->disk_bytes(), 100 * bytes_.size());
}

}  // namespace
}  // namespace droidspeak
