// SPDX-License-Identifier: Apache-2.0
#include "tests/cacheserver/store/faulty_file_system.h"

#include <algorithm>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/time/clock.h"

namespace droidspeak::testing {
namespace {

namespace fs = std::filesystem;
using rocksdb::IODebugContext;
using rocksdb::IOOptions;
using rocksdb::IOStatus;
using rocksdb::Slice;

class FaultyWritableFile : public rocksdb::FSWritableFileOwnerWrapper {
 public:
  FaultyWritableFile(std::unique_ptr<rocksdb::FSWritableFile> file, uint64_t id, std::string path,
                     FaultyFileSystem* system)
      : rocksdb::FSWritableFileOwnerWrapper(std::move(file)), id_(id), path_(std::move(path)), system_(system) {}

  IOStatus Append(const Slice& data, const IOOptions& options, IODebugContext* debug) override {
    IOStatus status = system_->BeforeWrite();
    return status.ok() ? FSWritableFileOwnerWrapper::Append(data, options, debug) : status;
  }
  IOStatus Append(const Slice& data, const IOOptions& options, const rocksdb::DataVerificationInfo& info,
                  IODebugContext* debug) override {
    IOStatus status = system_->BeforeWrite();
    return status.ok() ? FSWritableFileOwnerWrapper::Append(data, options, info, debug) : status;
  }
  IOStatus PositionedAppend(const Slice& data, uint64_t offset, const IOOptions& options,
                            IODebugContext* debug) override {
    IOStatus status = system_->BeforeWrite();
    return status.ok() ? FSWritableFileOwnerWrapper::PositionedAppend(data, offset, options, debug) : status;
  }
  IOStatus PositionedAppend(const Slice& data, uint64_t offset, const IOOptions& options,
                            const rocksdb::DataVerificationInfo& info, IODebugContext* debug) override {
    IOStatus status = system_->BeforeWrite();
    return status.ok() ? FSWritableFileOwnerWrapper::PositionedAppend(data, offset, options, info, debug) : status;
  }
  IOStatus Sync(const IOOptions& options, IODebugContext* debug) override {
    system_->BeforeChange();
    IOStatus status = FSWritableFileOwnerWrapper::Sync(options, debug);
    if (status.ok()) system_->Synced(id_, path_);
    return status;
  }
  IOStatus Fsync(const IOOptions& options, IODebugContext* debug) override {
    system_->BeforeChange();
    IOStatus status = FSWritableFileOwnerWrapper::Fsync(options, debug);
    if (status.ok()) system_->Synced(id_, path_);
    return status;
  }

 private:
  const uint64_t id_;
  const std::string path_;
  FaultyFileSystem* const system_;
};

class FaultyRandomAccessFile : public rocksdb::FSRandomAccessFileOwnerWrapper {
 public:
  FaultyRandomAccessFile(std::unique_ptr<rocksdb::FSRandomAccessFile> file, FaultyFileSystem* system)
      : rocksdb::FSRandomAccessFileOwnerWrapper(std::move(file)), system_(system) {}
  IOStatus Read(uint64_t offset, size_t bytes, const IOOptions& options, Slice* result, char* scratch,
                IODebugContext* debug) const override {
    IOStatus status = system_->BeforeRead();
    return status.ok() ? FSRandomAccessFileOwnerWrapper::Read(offset, bytes, options, result, scratch, debug) : status;
  }

 private:
  FaultyFileSystem* const system_;
};

class FaultyDirectory : public rocksdb::FSDirectoryWrapper {
 public:
  FaultyDirectory(std::unique_ptr<rocksdb::FSDirectory> folder, std::string path, FaultyFileSystem* system)
      : rocksdb::FSDirectoryWrapper(std::move(folder)), path_(std::move(path)), system_(system) {}
  IOStatus Fsync(const IOOptions& options, IODebugContext* debug) override {
    return Noted(FSDirectoryWrapper::Fsync(options, debug));
  }
  IOStatus FsyncWithDirOptions(const IOOptions& options, IODebugContext* debug,
                               const rocksdb::DirFsyncOptions& how) override {
    return Noted(FSDirectoryWrapper::FsyncWithDirOptions(options, debug, how));
  }

 private:
  IOStatus Noted(IOStatus status) {
    if (status.ok()) system_->FolderSynced(path_);
    return status;
  }
  const std::string path_;
  FaultyFileSystem* const system_;
};

std::string FolderOf(const std::string& path) {
  return fs::path(path).parent_path().lexically_normal().string();
}

bool Coin(std::mt19937_64* random) {
  return random != nullptr && (*random)() % 2 == 0;
}

}  // namespace

FaultyFileSystem::FaultyFileSystem(std::string shadow)
    : rocksdb::FileSystemWrapper(rocksdb::FileSystem::Default()), shadow_(std::move(shadow)) {
  if (!shadow_.empty()) fs::create_directories(shadow_);
}

void FaultyFileSystem::After(int64_t count, std::function<void()> then) {
  then_ = std::move(then);
  countdown_ = count;
}

void FaultyFileSystem::BeforeChange() {
  if (countdown_ > 0 && countdown_.fetch_sub(1) == 1) then_();
}

void FaultyFileSystem::Pause() const {
  if (slow_ms > 0) absl::SleepFor(absl::Milliseconds(slow_ms.load()));
}

IOStatus FaultyFileSystem::BeforeWrite() {
  BeforeChange();
  Pause();
  return disk_full ? IOStatus::NoSpace("no space left on device") : IOStatus::OK();
}

IOStatus FaultyFileSystem::BeforeRead() const {
  Pause();
  return reads_fail ? IOStatus::IOError("input/output error") : IOStatus::OK();
}

uint64_t FaultyFileSystem::AddFile(const std::string& path) {
  const uint64_t id = next_id_++;
  names_[path] = id;
  if (!shadow_.empty()) fs::create_hard_link(path, ShadowOf(id));
  return id;
}

void FaultyFileSystem::Adopt(const std::string& folder) {
  absl::MutexLock lock(&mutex_);
  for (const auto& entry : fs::directory_iterator(folder)) {
    const std::string path = entry.path().lexically_normal().string();
    const uint64_t id = AddFile(path);
    durable_names_[path] = id;
    synced_bytes_[id] = entry.file_size();
  }
}

void FaultyFileSystem::Synced(uint64_t id, const std::string& path) {
  std::error_code error;
  const uint64_t bytes = fs::file_size(shadow_.empty() ? path : ShadowOf(id), error);
  if (error) return;
  absl::MutexLock lock(&mutex_);
  synced_bytes_[id] = bytes;
}

void FaultyFileSystem::FolderSynced(const std::string& folder) {
  absl::MutexLock lock(&mutex_);
  const std::string synced = (fs::path(folder) / "").parent_path().lexically_normal().string();
  const auto within = [&](const auto& entry) { return FolderOf(entry.first) == synced; };
  absl::erase_if(durable_names_, within);
  for (const auto& entry : names_) {
    if (within(entry)) durable_names_[entry.first] = entry.second;
  }
}

void FaultyFileSystem::CopySurvivors(const std::string& from, const std::string& to, std::mt19937_64* random) const {
  fs::create_directories(to);
  absl::MutexLock lock(&mutex_);
  Names survive = durable_names_;
  for (const auto& [path, id] : names_) {
    if (Coin(random)) survive[path] = id;
  }
  if (random != nullptr) {
    absl::erase_if(survive, [&](const auto& entry) { return !names_.contains(entry.first) && Coin(random); });
  }
  for (const auto& [path, id] : survive) {
    if (FolderOf(path) != fs::path(from).lexically_normal().string()) continue;
    const fs::path copy = fs::path(to) / fs::path(path).filename();
    fs::copy_file(shadow_.empty() ? path : ShadowOf(id), copy);
    const auto synced = synced_bytes_.find(id);
    uint64_t bytes = synced == synced_bytes_.end() ? 0 : synced->second;
    const uint64_t all = fs::file_size(copy);
    if (random != nullptr && all > bytes) bytes += (*random)() % (all - bytes + 1);
    if (all > bytes) fs::resize_file(copy, bytes);
  }
}

IOStatus FaultyFileSystem::NewWritableFile(const std::string& path, const rocksdb::FileOptions& options,
                                           std::unique_ptr<rocksdb::FSWritableFile>* file, IODebugContext* debug) {
  BeforeChange();
  const std::string normal = fs::path(path).lexically_normal().string();
  absl::MutexLock lock(&mutex_);
  // What a file of this name held may come back: it gets another inode.
  std::error_code ignored;
  if (!shadow_.empty()) fs::remove(normal, ignored);
  IOStatus status = FileSystemWrapper::NewWritableFile(path, options, file, debug);
  if (status.ok()) {
    *file = std::make_unique<FaultyWritableFile>(std::move(*file), AddFile(normal), normal, this);
  }
  return status;
}

IOStatus FaultyFileSystem::NewRandomAccessFile(const std::string& path, const rocksdb::FileOptions& options,
                                               std::unique_ptr<rocksdb::FSRandomAccessFile>* file,
                                               IODebugContext* debug) {
  IOStatus status = FileSystemWrapper::NewRandomAccessFile(path, options, file, debug);
  if (status.ok()) *file = std::make_unique<FaultyRandomAccessFile>(std::move(*file), this);
  return status;
}

IOStatus FaultyFileSystem::NewDirectory(const std::string& path, const IOOptions& options,
                                        std::unique_ptr<rocksdb::FSDirectory>* folder, IODebugContext* debug) {
  IOStatus status = FileSystemWrapper::NewDirectory(path, options, folder, debug);
  if (status.ok()) *folder = std::make_unique<FaultyDirectory>(std::move(*folder), path, this);
  return status;
}

IOStatus FaultyFileSystem::RenameFile(const std::string& from, const std::string& to, const IOOptions& options,
                                      IODebugContext* debug) {
  BeforeChange();
  absl::MutexLock lock(&mutex_);
  IOStatus status = FileSystemWrapper::RenameFile(from, to, options, debug);
  const auto found = names_.find(fs::path(from).lexically_normal().string());
  if (status.ok() && found != names_.end()) {
    const uint64_t id = found->second;
    names_.erase(found);
    names_[fs::path(to).lexically_normal().string()] = id;
  }
  return status;
}

IOStatus FaultyFileSystem::DeleteFile(const std::string& path, const IOOptions& options, IODebugContext* debug) {
  BeforeChange();
  absl::MutexLock lock(&mutex_);
  IOStatus status = FileSystemWrapper::DeleteFile(path, options, debug);
  if (status.ok()) names_.erase(fs::path(path).lexically_normal().string());
  return status;
}

}  // namespace droidspeak::testing
