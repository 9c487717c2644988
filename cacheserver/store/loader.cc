// SPDX-License-Identifier: Apache-2.0
#include "cacheserver/store/loader.h"

#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/log.h"
#include "common/base/text.h"

namespace droidspeak {
namespace {

// The extent if it is in host memory now. The block's shard is locked.
std::optional<HostExtent> OnHost(const Block& block, ExtentSelector extent, uint64_t bytes, Tier from) {
  if (!block.Has(ExtentState::kHost, extent.kind, extent.layer)) return std::nullopt;
  const Extent* entry = block.Find(extent.kind, extent.layer);
  return HostExtent(entry->host, bytes, entry->checksum, from);
}

}  // namespace

Loader::Loader(StoreCore* core, WantRoomFunction want_room) : core_(core), want_room_(std::move(want_room)) {
  if (core_->disk() == nullptr) return;
  for (int i = 0; i < core_->options().io_threads; ++i) {
    threads_.push_back(
        std::make_unique<Thread>(absl::StrCat("store-io-", i), [this](const std::stop_token&) { Run(); }));
  }
}

void Loader::Load(Block* block, ExtentSelector extent, ExtentStore::LoadCallback done) {
  std::optional<absl::StatusOr<HostExtent>> at_once;
  uint64_t bytes = 0;
  {
    Index::Locked shard = core_->index().Lock(block->key);
    bytes = core_->ExtentBytes(*block, extent.kind);
    if (extent.layer >= block->layers || !block->Ready(extent.kind, extent.layer)) {
      at_once.emplace(absl::NotFoundError("the extent is not there"));
    } else if (std::optional<HostExtent> host = OnHost(*block, extent, bytes, Tier::kHost)) {
      at_once.emplace(*std::move(host));
    }
  }
  if (!at_once) {
    absl::MutexLock lock(&mutex_);
    if (stopping_ || threads_.empty()) {
      at_once.emplace(absl::UnavailableError("the store is closing"));
    } else if (core_->counters.queued_loads.fetch_add(1) >= core_->options().max_queued_loads) {
      core_->counters.queued_loads.fetch_sub(1);
      at_once.emplace(absl::ResourceExhaustedError("too many loads are waiting"));
    } else {
      tasks_.push_back({block, extent, bytes, 0, nullptr, false, std::move(done)});
    }
  }
  if (at_once) done(*std::move(at_once));
}

void Loader::Run() {
  while (WaitForTask()) {
    Task task;
    {
      // Buffers are asked for in the order of the loads: a reader that needs the first of its loads first would wait
      // for ever if later ones, which it keeps until then, had all the buffers.
      absl::MutexLock order(&order_mutex_);
      if (!Take(task) || !FindBuffer(task)) continue;
    }
    const absl::Status read =
        core_->disk()->Read(task.block->key, task.extent, task.checksum, {task.buffer, task.bytes});
    Finish(task, read);
  }
}

bool Loader::WaitForTask() {
  absl::MutexLock lock(&mutex_);
  const auto ready = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return !tasks_.empty() || stopping_; };
  mutex_.Await(absl::Condition(&ready));
  return !tasks_.empty();
}

bool Loader::Take(Task& task) {
  absl::MutexLock lock(&mutex_);
  if (tasks_.empty()) return false;
  task = std::move(tasks_.front());
  tasks_.pop_front();
  return true;
}

bool Loader::FindBuffer(Task& task) {
  if (core_->closing) {
    FreeBuffer(task);
    End(task, absl::UnavailableError("the store is closing"));
    return false;
  }
  std::optional<absl::StatusOr<HostExtent>> settled;
  bool promote = false;
  {
    Index::Locked shard = core_->index().Lock(task.block->key);
    if (std::optional<HostExtent> host = OnHost(*task.block, task.extent, task.bytes, Tier::kRocksdb)) {
      settled.emplace(*std::move(host));  // another load was first
    } else if (!task.block->Has(ExtentState::kDisk, task.extent.kind, task.extent.layer)) {
      settled.emplace(absl::NotFoundError("the extent is not there any more"));
    } else {
      task.checksum = task.block->Find(task.extent.kind, task.extent.layer)->checksum;
      promote = core_->WorthPromoting(*task.block, task.extent);
    }
  }
  if (settled) {
    FreeBuffer(task);
    End(task, *std::move(settled));
    return false;
  }
  TenantEntry& tenant = *core_->namespaces().Find(task.block->namespace_id)->tenant;
  if (task.buffer == nullptr && tenant.HostHasRoom(SlabPool::SlotBytes(task.bytes))) {
    task.buffer = core_->pool().slots().Allocate(task.bytes);
  }
  if (task.buffer != nullptr) return true;
  // What a reader that has stopped keeps of the staging buffers must not keep all others waiting.
  if (promote || core_->pool().staging().mostly_taken()) want_room_(tenant, task.bytes);
  AwaitStaging(std::move(task));
  return false;
}

void Loader::AwaitStaging(Task task) {
  auto shared = std::make_shared<Task>(std::move(task));
  core_->pool().staging().Take(shared->bytes, [this, shared](std::byte* buffer) {
    if (buffer == nullptr) return End(*shared, absl::UnavailableError("the store is closing"));
    shared->buffer = buffer;
    shared->staging = true;
    {
      absl::MutexLock lock(&mutex_);
      if (!stopping_) {
        tasks_.push_front(std::move(*shared));  // it has waited already
        return;
      }
    }
    FreeBuffer(*shared);
    End(*shared, absl::UnavailableError("the store is closing"));
  });
}

// The disk's trouble, which passes, or the extent's, which doesn't: then it is dropped, so that it can be filled again.
absl::Status Loader::Judge(const Task& task, absl::Status failed) {
  switch (failures_.Note(task.block->key, task.extent, core_->Now())) {
    case ReadFailures::Verdict::kNew:
      core_->disk()->Degrade(failed);
      break;
    case ReadFailures::Verdict::kAgain:
      break;
    case ReadFailures::Verdict::kLost:
      spdlog::error("an extent of block {} can't be read and is given up: {}", task.block->key.hash.Hex(),
                    ToStd(failed.message()));
      return absl::NotFoundError(failed.message());
  }
  return failed;
}

void Loader::Finish(Task& task, absl::Status read) {
  if (absl::IsUnavailable(read)) read = Judge(task, std::move(read));
  if (read.ok()) failures_.Forget(task.block->key, task.extent);
  if (!read.ok()) {
    if (!absl::IsUnavailable(read)) DropCorrupt(task, read);
    FreeBuffer(task);
    return End(task, absl::IsUnavailable(read) ? std::move(read) : absl::NotFoundError(read.message()));
  }
  if (task.staging) {
    return End(task, HostExtent(task.buffer, task.bytes, task.checksum, Tier::kRocksdb, &core_->pool().staging()));
  }
  std::optional<HostExtent> host;
  {
    Index::Locked shard = core_->index().Lock(task.block->key);
    host = OnHost(*task.block, task.extent, task.bytes, Tier::kRocksdb);
    if (!host && task.block->Has(ExtentState::kDisk, task.extent.kind, task.extent.layer)) {
      core_->PutOnHost(task.block, task.extent, std::exchange(task.buffer, nullptr), task.checksum);
      host = OnHost(*task.block, task.extent, task.bytes, Tier::kRocksdb);
    }
  }
  FreeBuffer(task);
  if (!host) return End(task, absl::NotFoundError("the extent is not there any more"));
  End(task, *std::move(host));
}

void Loader::DropCorrupt(const Task& task, const absl::Status& status) {
  Index::Locked shard = core_->index().Lock(task.block->key);
  Block* block = task.block;
  if (!block->linked || !block->Has(ExtentState::kDisk, task.extent.kind, task.extent.layer)) return;
  if (absl::IsDataLoss(status)) core_->counters.checksum_errors.fetch_add(1);
  core_->TakeOffDisk(block, task.extent);
  core_->QueueRemoval({block->key, {task.extent}});
}

void Loader::FreeBuffer(const Task& task) {
  if (task.buffer == nullptr) return;
  if (task.staging) {
    core_->pool().staging().Give(task.buffer);
  } else {
    core_->pool().slots().Free(task.buffer);
  }
}

void Loader::End(const Task& task, absl::StatusOr<HostExtent> result) {
  core_->counters.queued_loads.fetch_sub(1);
  task.done(std::move(result));
}

void Loader::Stop() {
  std::deque<Task> tasks;
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
    tasks.swap(tasks_);
  }
  core_->pool().staging().Close();
  for (Task& task : tasks) {
    FreeBuffer(task);
    End(task, absl::UnavailableError("the store is closing"));
  }
  for (const auto& thread : threads_) thread->Stop();
}

}  // namespace droidspeak
