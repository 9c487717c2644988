// SPDX-License-Identifier: Apache-2.0
#include "cacheserver/tiers/rocksdb_tier.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <filesystem>
#include <set>
#include <system_error>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "cacheserver/tiers/rocksdb_options.h"
#include "common/base/files.h"
#include "common/base/log.h"
#include "common/base/status.h"
#include "common/base/thread.h"
#include "common/key/checksum.h"
#include "rocksdb/db.h"
#include "rocksdb/env.h"
#include "rocksdb/listener.h"
#include "rocksdb/write_batch.h"

namespace droidspeak {
namespace {

rocksdb::Slice ToSlice(std::string_view text) {
  return {text.data(), text.size()};
}
std::string_view ToView(const rocksdb::Slice& slice) {
  return {slice.data(), slice.size()};
}

absl::Status FromRocksdb(const rocksdb::Status& status, std::string_view what) {
  if (status.ok()) return absl::OkStatus();
  const std::string text = absl::StrCat("RocksDB, ", ToAbsl(what), ": ", status.ToString());
  if (status.IsNotFound()) return absl::NotFoundError(text);
  if (status.IsCorruption()) return absl::DataLossError(text);
  if (status.IsNoSpace()) return absl::ResourceExhaustedError(text);
  return absl::UnavailableError(text);
}

// The directory is read in so many slices a tenant, by at most so many threads.
constexpr int kScanSlices = 4;
constexpr int kMostScanThreads = 4;
// From each file at a time: a slice has only its part of each.
constexpr size_t kScanReadBytes = 256 << 10;

constexpr uint64_t kHeadroomShare = 32;
constexpr double kOneFile = 1.01;  // RocksDB rounds the number of files down

// Of an extent in a batch: header, key and lengths.
constexpr size_t kBatchOverheadBytes = 256;

// Unsynced writes are flushed by Sync(): none goes to the WAL (see the header).
rocksdb::WriteOptions WithoutWal() {
  rocksdb::WriteOptions options;
  options.disableWAL = true;
  return options;
}

}  // namespace

// Remembers that RocksDB went into a background error: a flush or compaction that failed after writes were accepted.
class RocksdbTier::Listener : public rocksdb::EventListener {
 public:
  explicit Listener(RocksdbTier* tier) : tier_(tier) {}
  void OnBackgroundError(rocksdb::BackgroundErrorReason, rocksdb::Status* error) override {
    if (error != nullptr) tier_->Degrade(FromRocksdb(*error, "in the background"));
  }

 private:
  RocksdbTier* const tier_;
};

RocksdbTier::RocksdbTier(const RocksdbTierOptions& options) : options_(options) {}

RocksdbTier::~RocksdbTier() {
  if (db_ == nullptr) return;
  for (rocksdb::ColumnFamilyHandle* family : {directory_, extents_}) {
    if (family != nullptr) (void)db_->DestroyColumnFamilyHandle(family);
  }
  if (const rocksdb::Status closed = db_->Close(); !closed.ok()) {
    spdlog::error("closing the store in {}: {}", options_.folder, closed.ToString());
  }
  db_.reset();  // before what its listener uses
}

absl::StatusOr<std::unique_ptr<RocksdbTier>> RocksdbTier::Open(const RocksdbTierOptions& options,
                                                               const RecoveredStore& recovered) {
  std::error_code error;
  std::filesystem::create_directories(options.folder, error);
  if (error) {
    return absl::UnavailableError(absl::StrCat("creating the spill folder ", options.folder, ": ", error.message()));
  }
  // RocksDB syncs its folder, but not the names of it and of the folder around it.
  const std::filesystem::path parent = std::filesystem::absolute(options.folder).parent_path();
  RETURN_IF_ERROR(SyncFolder(parent.string()));
  RETURN_IF_ERROR(SyncFolder(parent.parent_path().string()));
  auto tier = std::unique_ptr<RocksdbTier>(new RocksdbTier(options));
  RETURN_IF_ERROR(tier->OpenDatabase());
  RETURN_IF_ERROR(tier->CheckStoreRow());
  RETURN_IF_ERROR(tier->Scan(recovered));
  RETURN_IF_ERROR(tier->StartCompactions());
  return tier;
}

absl::Status RocksdbTier::OpenDatabase() {
  listener_ = std::make_shared<Listener>(this);
  const RocksdbTuning tuning = TuneRocksdb(options_.folder, options_.limit_bytes, options_.env);
  rocksdb::DBOptions db_options = tuning.db;
  db_options.listeners.push_back(listener_);
  const std::vector<rocksdb::ColumnFamilyDescriptor> families = {
      {rocksdb::kDefaultColumnFamilyName, tuning.directory},
      {"directory", tuning.directory},
      {"extents", tuning.extents},
  };
  std::vector<rocksdb::ColumnFamilyHandle*> handles;
  rocksdb::DB* db = nullptr;
  const rocksdb::Status opened = rocksdb::DB::Open(db_options, options_.folder, families, &handles, &db);
  if (!opened.ok()) {
    return absl::UnavailableError(absl::StrCat("opening the store in ", options_.folder, ": ", opened.ToString()));
  }
  db_.reset(db);
  (void)db_->DestroyColumnFamilyHandle(handles[0]);
  directory_ = handles[1];
  extents_ = handles[2];
  return absl::OkStatus();
}

absl::Status RocksdbTier::CheckStoreRow() {
  std::string bytes;
  const rocksdb::Status read = db_->Get({}, directory_, ToSlice(StoreRowKey()), &bytes);
  if (read.IsNotFound()) {
    const StoreRow row{kStoreFormatVersion, options_.cluster_secret_id};
    RETURN_IF_ERROR(FromRocksdb(db_->Put(WithoutWal(), directory_, ToSlice(StoreRowKey()), ToSlice(row.Encode())),
                                "writing the store's row"));
    return Sync();
  }
  RETURN_IF_ERROR(FromRocksdb(read, "reading the store's row"));
  ASSIGN_OR_RETURN(const StoreRow row, StoreRow::Decode(bytes));
  if (row.format_version != kStoreFormatVersion) {
    return absl::FailedPreconditionError(absl::StrCat("the store in ", options_.folder, " has format version ",
                                                      row.format_version, ", expected ", kStoreFormatVersion));
  }
  if (row.cluster_secret_id != options_.cluster_secret_id) {
    return absl::FailedPreconditionError(
        absl::StrCat("the store in ", options_.folder, " belongs to the cluster secret with id ",
                     row.cluster_secret_id.Hex(), ", not ", options_.cluster_secret_id.Hex()));
  }
  return absl::OkStatus();
}

absl::Status RocksdbTier::ScanRange(const std::string& from, const std::string& to,
                                    const std::function<void(std::string_view, std::string_view)>& visit) {
  rocksdb::ReadOptions options;
  options.fill_cache = false;
  options.readahead_size = kScanReadBytes;
  options.verify_checksums = false;  // rows have their own: a flipped byte costs a row, not the folder
  const rocksdb::Slice end = ToSlice(to);
  options.iterate_upper_bound = &end;
  const std::unique_ptr<rocksdb::Iterator> rows(db_->NewIterator(options, directory_));
  for (rows->Seek(ToSlice(from)); rows->Valid(); rows->Next()) visit(ToView(rows->key()), ToView(rows->value()));
  return Annotate(FromRocksdb(rows->status(), "scanning the directory"), options_.folder);
}

absl::Status RocksdbTier::Scan(const RecoveredStore& recovered) {
  // Keys sort 'N' < 'P' < 'S' < 'b': namespaces and pins come before blocks.
  const std::string first_namespace(1, static_cast<char>(RowType::kNamespace));
  const std::string first_block(1, static_cast<char>(RowType::kBlock));
  std::set<uint32_t> tenants;
  std::atomic<uint64_t> lost{0};
  RETURN_IF_ERROR(ScanRange(first_namespace, first_block, [&](std::string_view key, std::string_view value) {
    if (key.front() == static_cast<char>(RowType::kPin)) {
      const absl::StatusOr<PinRow> row = PinRow::Decode(key, value);
      return row.ok() ? recovered.on_pin(*row) : void(++lost);
    }
    if (key.front() != static_cast<char>(RowType::kNamespace)) return;
    absl::StatusOr<NamespaceRow> row = NamespaceRow::Decode(key, value);
    if (!row.ok()) return void(++lost);
    tenants.insert(row->tenant);
    recovered.on_namespace(*std::move(row));
  }));
  uint64_t rows = 0;
  (void)db_->GetIntProperty(directory_, rocksdb::DB::Properties::kEstimateNumKeys, &rows);
  if (recovered.on_estimate) recovered.on_estimate(rows);

  // Slices of each tenant's hashes, which are uniform; the last one reaches to the next tenant's first.
  std::vector<std::string> bounds;
  for (const uint32_t tenant : tenants) {
    for (int slice = 0; slice < kScanSlices; ++slice) {
      BlockKey first{tenant, {}};
      first.hash.bytes[0] = static_cast<uint8_t>(slice * (256 / kScanSlices));
      bounds.push_back(BlockRowKey(first));
    }
  }
  if (bounds.empty()) bounds.push_back(first_block);
  bounds.front() = first_block;
  bounds.push_back(std::string(1, static_cast<char>(static_cast<char>(RowType::kBlock) + 1)));
  std::atomic<size_t> next{0};
  std::vector<absl::Status> outcomes(bounds.size());
  const auto scan_slices = [&] {
    for (size_t i; (i = next++) + 1 < bounds.size();) {
      outcomes[i] = ScanRange(bounds[i], bounds[i + 1], [&](std::string_view key, std::string_view value) {
        absl::StatusOr<BlockRow> row = BlockRow::Decode(key, value);
        if (!row.ok()) return void(++lost);
        recovered.on_block(*std::move(row));
      });
      if (!absl::IsDataLoss(outcomes[i])) continue;
      spdlog::warn("a part of the directory can't be read, and its blocks are lost: {}", outcomes[i].ToString());
      ++lost;
      outcomes[i] = absl::OkStatus();
    }
  };
  {
    const int threads = std::clamp<int>(std::thread::hardware_concurrency(), 1, kMostScanThreads);
    std::vector<std::unique_ptr<Thread>> others;
    for (int i = 1; i < threads; ++i) {
      others.push_back(std::make_unique<Thread>("store-scan", [&](const std::stop_token&) { scan_slices(); }));
    }
    scan_slices();
  }
  lost_rows_ = lost;
  for (absl::Status& outcome : outcomes) RETURN_IF_ERROR(std::move(outcome));
  return absl::OkStatus();
}

// They would take the disk and a core from the scan.
absl::Status RocksdbTier::StartCompactions() {
  return FromRocksdb(db_->EnableAutoCompaction({directory_, extents_}), "starting compactions");
}

absl::Status RocksdbTier::Failed(absl::Status status) {
  if (absl::IsUnavailable(status) || absl::IsResourceExhausted(status)) Degrade(status);
  return status;
}

void RocksdbTier::Degrade(const absl::Status& status) {
  absl::MutexLock lock(&mutex_);
  if (!degraded_) spdlog::error("the RocksDB tier is degraded: {}", status.ToString());
  degraded_ = std::string(status.message());
}

absl::Status RocksdbTier::Apply(rocksdb::WriteBatch& batch) {
  const absl::Status written = FromRocksdb(db_->Write(WithoutWal(), &batch), "writing");
  if (!written.ok()) Degrade(written);  // whatever it is: nothing can be written any more
  return written;
}

absl::Status RocksdbTier::Write(const BlockRow& row, absl::Span<const ExtentWrite> extents) {
  uint64_t bytes = 0;
  for (const ExtentWrite& extent : extents) bytes += extent.bytes;
  if (!HasRoom(bytes)) {
    // Not a fault: the tier is full of what is wanted more, or of garbage that awaits compaction.
    return absl::ResourceExhaustedError("the spill limit is reached");
  }
  rocksdb::WriteBatch batch(bytes + kBatchOverheadBytes * (extents.size() + 1));  // else it grows, copying, as it fills
  for (const ExtentWrite& extent : extents) {
    const auto header = ExtentHeader{row.block, extent.extent, extent.bytes, extent.checksum}.Encode();
    const std::string key = ExtentKey(row.block, extent.extent);
    const rocksdb::Slice key_part = ToSlice(key);
    const rocksdb::Slice parts[] = {{header.data(), header.size()},
                                    {reinterpret_cast<const char*>(extent.data), extent.bytes}};
    RETURN_IF_ERROR(FromRocksdb(batch.Put(extents_, {&key_part, 1}, {parts, 2}), "writing an extent"));
  }
  RETURN_IF_ERROR(FromRocksdb(batch.Put(directory_, ToSlice(BlockRowKey(row.block)), ToSlice(row.Encode())),
                              "writing a directory row"));
  return Apply(batch);
}

absl::Status RocksdbTier::WriteNamespace(const NamespaceRow& row) {
  rocksdb::WriteBatch batch;
  RETURN_IF_ERROR(FromRocksdb(batch.Put(directory_, ToSlice(NamespaceRowKey(row.id)), ToSlice(row.Encode())),
                              "writing a namespace"));
  return Apply(batch);
}

absl::Status RocksdbTier::WritePins(const PinChanges& changes) {
  rocksdb::WriteBatch batch;
  for (const auto& [block, namespace_id] : changes) {
    const std::string key = PinRowKey(block);
    const rocksdb::Status changed =
        namespace_id ? batch.Put(directory_, ToSlice(key), ToSlice(PinRow{block, *namespace_id}.Encode()))
                     : batch.Delete(directory_, ToSlice(key));
    RETURN_IF_ERROR(FromRocksdb(changed, "changing a pin"));
  }
  return Apply(batch);
}

absl::Status RocksdbTier::Remove(const BlockRow& row, absl::Span<const ExtentSelector> extents) {
  rocksdb::WriteBatch batch;
  for (const ExtentSelector& extent : extents) {
    RETURN_IF_ERROR(FromRocksdb(batch.Delete(extents_, ToSlice(ExtentKey(row.block, extent))), "removing an extent"));
  }
  const std::string key = BlockRowKey(row.block);
  const bool empty = row.checksums[0].empty() && row.checksums[1].empty();
  const rocksdb::Status changed =
      empty ? batch.Delete(directory_, ToSlice(key)) : batch.Put(directory_, ToSlice(key), ToSlice(row.Encode()));
  RETURN_IF_ERROR(FromRocksdb(changed, "changing a directory row"));
  return Apply(batch);
}

absl::Status RocksdbTier::Sync() {
  rocksdb::FlushOptions options;
  options.wait = true;
  options.allow_write_stall = true;
  return Failed(FromRocksdb(db_->Flush(options, {directory_, extents_}), "flushing"));
}

absl::Status RocksdbTier::Read(const BlockKey& block, ExtentSelector extent, uint64_t checksum,
                               absl::Span<std::byte> destination) {
  rocksdb::ReadOptions options;
  options.verify_checksums = false;  // of blobs: ours covers the identity as well; keys are cached, blobs are not
  rocksdb::PinnableSlice value;
  const rocksdb::Status read = db_->Get(options, extents_, ToSlice(ExtentKey(block, extent)), &value);
  if (!read.ok()) return FromRocksdb(read, "reading an extent");
  const std::optional<ExtentHeader> header = ExtentHeader::Decode(ToView(value));
  if (!header || header->block != block || header->extent != extent || header->bytes != destination.size() ||
      header->checksum != checksum) {
    return absl::DataLossError(absl::StrCat("the header of an extent of block ", block.hash.Hex(), " is wrong"));
  }
  std::memcpy(destination.data(), value.data() + ExtentHeader::kBytes, destination.size());
  // Of the copy: what is handed on is what was checked.
  if (ExtentChecksum({block.hash, extent.kind, extent.layer}, destination) != checksum) {
    return absl::DataLossError(absl::StrCat("the bytes of an extent of block ", block.hash.Hex(), " are wrong"));
  }
  return absl::OkStatus();
}

uint64_t RocksdbTier::budget_bytes() const {
  return options_.limit_bytes / 5 * 4;
}

uint64_t RocksdbTier::disk_bytes() const {
  uint64_t bytes = 0;
  for (rocksdb::ColumnFamilyHandle* family : {directory_, extents_}) {
    for (const std::string* property :
         {&rocksdb::DB::Properties::kTotalBlobFileSize, &rocksdb::DB::Properties::kTotalSstFilesSize,
          &rocksdb::DB::Properties::kCurSizeAllMemTables}) {
      uint64_t value = 0;
      if (db_->GetIntProperty(family, *property, &value)) bytes += value;
    }
  }
  return bytes;
}

bool RocksdbTier::HasRoom(uint64_t bytes) const {
  // The rest is for manifests, logs, and what a flush writes before its buffer is freed.
  return disk_bytes() + compacting_bytes_ + bytes <= options_.limit_bytes - options_.limit_bytes / kHeadroomShare;
}

absl::Status RocksdbTier::Compact(double share, std::atomic<bool>& cancelled) {
  rocksdb::CompactRangeOptions options;
  options.exclusive_manual_compaction = false;
  options.canceled = &cancelled;
  if (share > 0) {
    // What is rewritten lies twice on disk until the end: no more than there is room for, and room for writers left.
    const uint64_t used = disk_bytes();
    const uint64_t room = options_.limit_bytes - std::min(used, options_.limit_bytes);
    uint64_t files = 0;
    (void)db_->GetIntProperty(extents_, rocksdb::DB::Properties::kNumBlobFiles, &files);
    share = std::min(share, 0.5 * static_cast<double>(room) / static_cast<double>(used + 1));
    if (files > 0 && used / files <= room) share = std::clamp(kOneFile / static_cast<double>(files), share, 1.0);
    compacting_bytes_ = static_cast<uint64_t>(share * static_cast<double>(used));
    options.blob_garbage_collection_policy = rocksdb::BlobGarbageCollectionPolicy::kForce;
    options.blob_garbage_collection_age_cutoff = share;
    options.bottommost_level_compaction = rocksdb::BottommostLevelCompaction::kForce;
  }
  const rocksdb::Status compacted = db_->CompactRange(options, extents_, nullptr, nullptr);
  compacting_bytes_ = 0;
  if (cancelled) return absl::CancelledError("the compaction was broken off");
  return Failed(FromRocksdb(compacted, "compacting"));
}

std::optional<std::string> RocksdbTier::degraded() const {
  absl::MutexLock lock(&mutex_);
  return degraded_;
}

absl::Status RocksdbTier::TryRecover() {
  if (!degraded()) return absl::OkStatus();
  RETURN_IF_ERROR(Failed(FromRocksdb(db_->Resume(), "resuming")));
  // A write that goes to the disk tells.
  const StoreRow row{kStoreFormatVersion, options_.cluster_secret_id};
  RETURN_IF_ERROR(Failed(
      FromRocksdb(db_->Put(WithoutWal(), directory_, ToSlice(StoreRowKey()), ToSlice(row.Encode())), "writing again")));
  RETURN_IF_ERROR(Sync());
  absl::MutexLock lock(&mutex_);
  degraded_.reset();
  spdlog::info("the RocksDB tier works again");
  return absl::OkStatus();
}

}  // namespace droidspeak
