// SPDX-License-Identifier: Apache-2.0
// The parts of the spill benchmark that need a whole store: eviction and recovery.
#include <sys/stat.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <filesystem>
#include <optional>
#include <random>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "bench/spill_load.h"
#include "cacheserver/store.h"
#include "common/base/status.h"
#include "common/base/thread.h"
#include "common/key/checksum.h"

namespace droidspeak::bench {
namespace {

constexpr uint64_t kPoolBytes = 256 << 20;
constexpr uint64_t kSmallPoolBytes = 32 << 20;  // made before the directory is read
constexpr size_t kChainBlocks = 8;
constexpr uint32_t kRecoveredLayers = 32;
constexpr absl::Duration kLook = absl::Milliseconds(20);

Layout LayoutOf(uint64_t extent_bytes, uint32_t layers) {
  Layout layout;
  layout.layers = layers;
  layout.kv_heads = 8;
  layout.head_dim = 128;
  layout.hidden = 1024;
  layout.block_tokens = extent_bytes / (uint64_t{layout.kv_heads} * layout.head_dim * 4);
  return layout;
}

// Goes with the folder it names.
struct Folder {
  explicit Folder(const std::string& folder) : path(folder) { Clear(); }
  ~Folder() { Clear(); }
  void Clear() const {
    std::error_code ignored;
    std::filesystem::remove_all(path, ignored);
  }
  const std::string path;
};

// What the files of a folder occupy.
uint64_t DiskBytes(const std::string& folder) {
  uint64_t bytes = 0;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    struct stat found {};
    if (::stat(entry.path().c_str(), &found) == 0) bytes += static_cast<uint64_t>(found.st_blocks) * 512;
  }
  return bytes;
}

uint64_t LiveBytes(const StoreStats& stats) {
  const auto& bytes = stats.tiers[static_cast<size_t>(Tier::kRocksdb)].bytes;
  return bytes[0] + bytes[1];
}

absl::Status Await(const std::function<void(std::function<void(absl::Status)>)>& begin) {
  absl::Notification done;
  absl::Status outcome;
  begin([&](absl::Status status) {
    outcome = std::move(status);
    done.Notify();
  });
  done.WaitForNotification();
  return outcome;
}

// Fills a store with chains that nobody reads again.
class Filler {
 public:
  Filler(ExtentStore& store, uint32_t space, uint64_t extent_bytes) : store_(store), space_(space) {
    source_.resize(kPoolBytes / extent_bytes * extent_bytes);
    std::mt19937_64 random(1);
    for (size_t i = 0; i < source_.size(); i += sizeof(uint64_t)) {
      const uint64_t word = random();
      std::memcpy(source_.data() + i, &word, sizeof word);
    }
  }

  absl::Status Fill() {
    std::vector<wire::OfferBlock> blocks;
    Digest parent = Sha256Of(absl::StrCat("chain ", chain_));
    for (uint32_t i = 0; i < kChainBlocks; ++i) {
      blocks.push_back({Sha256Of(absl::StrCat("block ", chain_, " ", i)), parent, i});
      parent = blocks.back().hash;
    }
    ++chain_;
    ASSIGN_OR_RETURN(
        const ExtentStore::OfferResult made,
        store_.MakeOffer(1, /*tenant=*/0, space_, blocks, {(1u << kSpillLayers) - 1}, {}, absl::Seconds(60)));
    for (uint16_t layer = 0; layer < kSpillLayers; ++layer) {
      for (size_t block = 0; block < blocks.size(); ++block) {
        RETURN_IF_ERROR(FillOne(made.offer, block, blocks[block].hash, layer));
      }
    }
    return Await([&](auto done) { store_.Seal(made.offer, /*durable=*/false, std::move(done)); });
  }

 private:
  absl::Status FillOne(const OfferPtr& offer, size_t block, const Digest& hash, uint16_t layer) {
    std::optional<FillSlot> slot;
    RETURN_IF_ERROR(Await([&](auto done) {
      store_.AllocateFill(offer, block, {Kind::kKv, layer}, [&slot, done](absl::StatusOr<FillSlot> allocated) {
        if (allocated.ok()) slot.emplace(*std::move(allocated));
        done(allocated.status());
      });
    }));
    std::memcpy(slot->data(), source_.data() + at_, slot->bytes());
    at_ = (at_ + slot->bytes()) % source_.size();
    const absl::Span<const std::byte> bytes(slot->data(), slot->bytes());
    return slot->Commit(ExtentChecksum({hash, Kind::kKv, layer}, bytes)).status();
  }

  ExtentStore& store_;
  const uint32_t space_;
  std::vector<std::byte> source_;
  uint64_t at_ = 0;
  uint64_t chain_ = 0;
};

absl::StatusOr<std::unique_ptr<ExtentStore>> OpenStore(const std::string& folder, uint64_t limit_bytes,
                                                       uint64_t pool_bytes) {
  StoreOptions options;
  options.host_pool_bytes = pool_bytes;
  options.spill_dir = folder;
  options.spill_limit_bytes = limit_bytes;
  return ExtentStore::Open(std::move(options));
}

}  // namespace

absl::StatusOr<SteadyFigures> EvictSteadily(const std::string& path, const SpillShape& shape, uint64_t limit_bytes) {
  const Folder folder(path);
  std::filesystem::create_directories(path);
  ASSIGN_OR_RETURN(const std::unique_ptr<ExtentStore> store, OpenStore(path, limit_bytes, kPoolBytes));
  Digest name;
  ASSIGN_OR_RETURN(const uint32_t tenant, store->OpenTenant("bench"));
  ASSIGN_OR_RETURN(const uint32_t space,
                   store->OpenNamespace(tenant, name, LayoutOf(shape.extent_bytes, kSpillLayers)));
  Filler filler(*store, space, shape.extent_bytes);
  const auto kept = [&] { return store->stats().host_to_rocksdb * shape.extent_bytes; };
  while (kept() < limit_bytes) RETURN_IF_ERROR(filler.Fill());
  SteadyFigures figures;
  const StoreStats before = store->stats();
  const absl::Time start = absl::Now();
  absl::Notification stop;
  {
    const Thread look("look", [&](const std::stop_token&) {
      do {
        const auto on_disk = static_cast<double>(DiskBytes(path + "/rocksdb"));
        figures.limit_share = std::max(figures.limit_share, on_disk / static_cast<double>(limit_bytes));
        const double amplification = on_disk / static_cast<double>(LiveBytes(store->stats()));
        figures.amplification = std::max(figures.amplification, amplification);
      } while (!stop.WaitForNotificationWithTimeout(kLook));
    });
    absl::Status filled;
    while (filled.ok() && kept() < 3 * limit_bytes) filled = filler.Fill();
    stop.Notify();
    RETURN_IF_ERROR(filled);
  }
  const StoreStats after = store->stats();
  const auto went_down = static_cast<double>(after.host_to_rocksdb - before.host_to_rocksdb);
  const auto lost = static_cast<double>(after.host_to_gone - before.host_to_gone);
  figures.bytes_a_second =
      went_down * static_cast<double>(shape.extent_bytes) / absl::ToDoubleSeconds(absl::Now() - start);
  figures.lost_share = lost / (lost + went_down);
  return figures;
}

absl::StatusOr<std::vector<RecoveryFigures>> Recover(const std::string& path, uint64_t rows, int repeats) {
  const Folder folder(path);
  std::filesystem::create_directories(path);
  const uint64_t limit = uint64_t{1} << 40;
  {
    RecoveredStore nothing;
    nothing.on_namespace = [](const NamespaceRow&) {};
    nothing.on_block = [](const BlockRow&) {};
    ASSIGN_OR_RETURN(const std::unique_ptr<RocksdbTier> tier,
                     RocksdbTier::Open({path + "/rocksdb", limit, {}, nullptr}, nothing));
    RETURN_IF_ERROR(tier->WriteNamespace({1, 0, Digest{}, LayoutOf(1 << 20, kRecoveredLayers)}));
    BlockRow row;
    row.namespace_id = 1;
    row.layers = kRecoveredLayers;
    for (uint16_t layer = 0; layer < kRecoveredLayers; ++layer) row.Add({Kind::kKv, layer}, layer * 77u);
    for (uint64_t i = 0; i < rows; ++i) {
      row.block.hash = Sha256Of(absl::StrCat("row ", i));
      row.position = static_cast<uint32_t>(i);
      RETURN_IF_ERROR(tier->Write(row, {}));
    }
    RETURN_IF_ERROR(tier->Sync());
  }
  std::vector<RecoveryFigures> figures;
  for (int i = 0; i < repeats; ++i) {
    const absl::Time start = absl::Now();
    ASSIGN_OR_RETURN(const std::unique_ptr<ExtentStore> store, OpenStore(path, limit, kSmallPoolBytes));
    const double seconds = absl::ToDoubleSeconds(absl::Now() - start);
    if (store->stats().blocks != rows) return absl::DataLossError("recovery did not find all rows");
    const double a_second = static_cast<double>(rows) / seconds;
    figures.push_back({a_second, a_second * kRecoveredLayers});
  }
  return figures;
}

}  // namespace droidspeak::bench
