// SPDX-License-Identifier: Apache-2.0
#include "tests/cacheserver/store/faulty_file_system.h"

#include <filesystem>
#include <system_error>
#include <utility>

namespace droidspeak::testing {
namespace {

using rocksdb::IODebugContext;
using rocksdb::IOOptions;
using rocksdb::IOStatus;
using rocksdb::Slice;

class FaultyWritableFile : public rocksdb::FSWritableFileOwnerWrapper {
 public:
  FaultyWritableFile(std::unique_ptr<rocksdb::FSWritableFile> file, std::string path, FaultyFileSystem* system)
      : rocksdb::FSWritableFileOwnerWrapper(std::move(file)), path_(std::move(path)), system_(system) {}

  IOStatus Append(const Slice& data, const IOOptions& options, IODebugContext* debug) override {
    return system_->disk_full ? Full() : FSWritableFileOwnerWrapper::Append(data, options, debug);
  }
  IOStatus Append(const Slice& data, const IOOptions& options, const rocksdb::DataVerificationInfo& info,
                  IODebugContext* debug) override {
    return system_->disk_full ? Full() : FSWritableFileOwnerWrapper::Append(data, options, info, debug);
  }
  IOStatus PositionedAppend(const Slice& data, uint64_t offset, const IOOptions& options,
                            IODebugContext* debug) override {
    return system_->disk_full ? Full() : FSWritableFileOwnerWrapper::PositionedAppend(data, offset, options, debug);
  }
  IOStatus PositionedAppend(const Slice& data, uint64_t offset, const IOOptions& options,
                            const rocksdb::DataVerificationInfo& info, IODebugContext* debug) override {
    return system_->disk_full ? Full()
                              : FSWritableFileOwnerWrapper::PositionedAppend(data, offset, options, info, debug);
  }
  IOStatus Sync(const IOOptions& options, IODebugContext* debug) override {
    IOStatus status = FSWritableFileOwnerWrapper::Sync(options, debug);
    if (status.ok()) system_->Synced(path_);
    return status;
  }
  IOStatus Fsync(const IOOptions& options, IODebugContext* debug) override {
    IOStatus status = FSWritableFileOwnerWrapper::Fsync(options, debug);
    if (status.ok()) system_->Synced(path_);
    return status;
  }

 private:
  static IOStatus Full() { return IOStatus::NoSpace("no space left on device"); }
  const std::string path_;
  FaultyFileSystem* const system_;
};

class FaultyRandomAccessFile : public rocksdb::FSRandomAccessFileOwnerWrapper {
 public:
  FaultyRandomAccessFile(std::unique_ptr<rocksdb::FSRandomAccessFile> file, FaultyFileSystem* system)
      : rocksdb::FSRandomAccessFileOwnerWrapper(std::move(file)), system_(system) {}
  IOStatus Read(uint64_t offset, size_t bytes, const IOOptions& options, Slice* result, char* scratch,
                IODebugContext* debug) const override {
    if (system_->reads_fail) return IOStatus::IOError("input/output error");
    return FSRandomAccessFileOwnerWrapper::Read(offset, bytes, options, result, scratch, debug);
  }

 private:
  FaultyFileSystem* const system_;
};

}  // namespace

void FaultyFileSystem::Synced(const std::string& path) {
  std::error_code error;
  const uint64_t bytes = std::filesystem::file_size(path, error);
  if (error) return;
  absl::MutexLock lock(&mutex_);
  synced_bytes_[path] = bytes;
}

void FaultyFileSystem::CopySurvivors(const std::string& from, const std::string& to) const {
  std::filesystem::create_directories(to);
  absl::MutexLock lock(&mutex_);
  for (const auto& entry : std::filesystem::directory_iterator(from)) {
    const auto synced = synced_bytes_.find(entry.path().string());
    if (synced == synced_bytes_.end()) continue;
    const std::filesystem::path copy = std::filesystem::path(to) / entry.path().filename();
    std::filesystem::copy_file(entry.path(), copy);
    if (std::filesystem::file_size(copy) > synced->second) std::filesystem::resize_file(copy, synced->second);
  }
}

IOStatus FaultyFileSystem::NewWritableFile(const std::string& path, const rocksdb::FileOptions& options,
                                           std::unique_ptr<rocksdb::FSWritableFile>* file, IODebugContext* debug) {
  IOStatus status = FileSystemWrapper::NewWritableFile(path, options, file, debug);
  if (status.ok()) *file = std::make_unique<FaultyWritableFile>(std::move(*file), path, this);
  return status;
}

IOStatus FaultyFileSystem::NewRandomAccessFile(const std::string& path, const rocksdb::FileOptions& options,
                                               std::unique_ptr<rocksdb::FSRandomAccessFile>* file,
                                               IODebugContext* debug) {
  IOStatus status = FileSystemWrapper::NewRandomAccessFile(path, options, file, debug);
  if (status.ok()) *file = std::make_unique<FaultyRandomAccessFile>(std::move(*file), this);
  return status;
}

IOStatus FaultyFileSystem::RenameFile(const std::string& from, const std::string& to, const IOOptions& options,
                                      IODebugContext* debug) {
  IOStatus status = FileSystemWrapper::RenameFile(from, to, options, debug);
  absl::MutexLock lock(&mutex_);
  const auto synced = synced_bytes_.find(from);
  if (status.ok() && synced != synced_bytes_.end()) {
    const uint64_t bytes = synced->second;
    synced_bytes_.erase(synced);
    synced_bytes_[to] = bytes;
  }
  return status;
}

}  // namespace droidspeak::testing
