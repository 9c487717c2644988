// SPDX-License-Identifier: Apache-2.0
#include "engine/prefill/store_queue.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/time/clock.h"
#include "common/base/log.h"
#include "common/base/text.h"
#include "engine/model/parallel.h"
#include "engine/model/torch_types.h"

namespace droidspeak {
namespace {

constexpr int64_t kFlushTokens = 16;  // tokens that are worth waking the thread for
constexpr absl::Duration kSealTimeout = absl::Seconds(10);

bool Has(const std::vector<int64_t>& layers, int64_t layer) {
  return std::binary_search(layers.begin(), layers.end(), layer);
}

// A layer's rows in `memory`, one part after the other; what is not wanted has rows of no bytes.
LayerKv LayerIn(std::byte* memory, int64_t layer, int64_t rows, int64_t e_bytes, int64_t k_bytes) {
  std::byte* const k = memory + rows * e_bytes;
  return {.layer = layer,
          .rows = rows,
          .e = Rows(memory, e_bytes),
          .k = Rows(k, k_bytes),
          .v = Rows(k + rows * k_bytes, k_bytes)};
}

// On all threads, since the forward waits for it.
void CopyRows(const LayerKv& from, const LayerKv& to) {
  const int64_t e_bytes = to.e.stride_bytes(), k_bytes = to.k.stride_bytes();
  ForEachUnit(from.rows, std::max<int64_t>(1, kGrainBytes / (e_bytes + 2 * k_bytes)), [&](int64_t row) {
    std::memcpy(to.e[row], from.e[row], e_bytes);
    std::memcpy(to.k[row], from.k[row], k_bytes);
    std::memcpy(to.v[row], from.v[row], k_bytes);
  });
}

}  // namespace

StoreQueue::StoreQueue(RemoteCache& cache, const ModelConfig& config, const StoreQueueOptions& options)
    : cache_(cache),
      config_(config),
      options_(options),
      thread_("store", [this](const std::stop_token& stop) { Run(stop); }) {}

StoreQueue::~StoreQueue() {
  thread_.Stop();
}

std::unique_ptr<QueuedStore> StoreQueue::Open(absl::Span<const int32_t> tokens, StoreBackOptions options) {
  auto stream = std::make_shared<Stream>();
  stream->first_row = options.first_row;
  const Layout& layout = options.ns.layout;
  const int64_t block = StoreBack::LeastStagingBytes(config_, options);
  const int64_t row = std::max<int64_t>(1, block / layout.block_tokens);
  std::unique_ptr<QueuedStore> sink(
      new QueuedStore(*this, stream, options, std::max<int64_t>(layout.block_tokens, options_.copy_bytes / 4 / row)));
  options.max_staging_bytes = std::max(options_.each_staging_bytes, block);
  stream->staging_bytes = options.max_staging_bytes;
  const auto begin = [this, stream = stream.get(), tokens = std::vector<int32_t>(tokens.begin(), tokens.end()),
                      options = std::move(options)] {
    const int64_t block_tokens = options.ns.layout.block_tokens;
    absl::StatusOr<std::unique_ptr<StoreBack>> store = StoreBack::Start(cache_, config_, tokens, options);
    if (!store.ok()) {
      spdlog::debug("a sequence is not stored: {}", ToStd(store.status().message()));
      stream->ended = true;
      return;
    }
    stream->store = *std::move(store);
    const int64_t full = static_cast<int64_t>(tokens.size()) / block_tokens * block_tokens;
    if (!stream->store->wants_any()) stream->first_row = std::max(stream->first_row.load(), full);
  };
  const auto bytes = static_cast<int64_t>(tokens.size() * sizeof(int32_t));
  if (!Reserve(bytes) || !Post({.stream = stream, .begin = begin, .steps = {}, .bytes = bytes})) CutShort(*stream);
  return sink;
}

void StoreQueue::CutShort(Stream& stream) {
  if (!stream.ended.exchange(true)) cut_short_.fetch_add(1, std::memory_order_relaxed);
}

bool StoreQueue::Reserve(int64_t bytes) {
  absl::MutexLock lock(&mutex_);
  if (bytes_ + bytes > options_.copy_bytes) return false;
  bytes_ += bytes;
  return true;
}

void StoreQueue::Release(int64_t bytes) {
  absl::MutexLock lock(&mutex_);
  bytes_ -= bytes;
}

bool StoreQueue::Post(Task task) {
  absl::MutexLock lock(&mutex_);
  if (task.begin != nullptr) {
    if (staging_bytes_ + task.stream->staging_bytes > options_.staging_bytes) {
      bytes_ -= task.bytes;
      return false;
    }
    staging_bytes_ += task.stream->staging_bytes;
    task.stream->begun = true;
  }
  tasks_.push_back(std::move(task));
  return true;
}

void StoreQueue::Run(const std::stop_token& stop) {
  const std::stop_callback wake(stop, [this] {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  });
  for (;;) {
    Task task;
    {
      absl::MutexLock lock(&mutex_);
      busy_ = false;
      const auto ready = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return stopping_ || !tasks_.empty(); };
      mutex_.Await(absl::Condition(&ready));
      if (stopping_) {
        tasks_.clear();
        return;
      }
      busy_ = true;
      task = std::move(tasks_.front());
      tasks_.pop_front();
    }
    Do(task);
    absl::MutexLock lock(&mutex_);
    bytes_ -= task.bytes;
    if (task.end && task.stream->begun) staging_bytes_ -= task.stream->staging_bytes;
  }
}

void StoreQueue::Do(Task& task) {
  Stream& stream = *task.stream;
  const absl::Status status = WithoutExceptions("storing", [&] {
    if (task.begin) task.begin();
    if (stream.store == nullptr || stream.ended) return absl::OkStatus();
    for (const Step& step : task.steps) {
      if (!step.tokens.empty()) stream.store->Append(step.tokens);
      for (const Step::Layer& layer : step.layers) {
        stream.store->OnLayer(layer.kv, step.row).IgnoreError();  // Finish tells
      }
    }
    if (!stream.store->ok()) stream.ended = true;
    return absl::OkStatus();
  });
  task.steps.clear();  // the copies
  if (!status.ok()) stream.ended = true;
  if (stream.store == nullptr || (!task.end && !stream.ended)) return;
  // Of a sequence that was cut short, too: the servers may still be reading its memory.
  const absl::Status finished = stream.store->Finish(/*durable=*/false, absl::Now() + kSealTimeout);
  if (!finished.ok()) spdlog::debug("a sequence is stored in part: {}", ToStd(finished.message()));
  stream.ended = true;
  stream.store.reset();
}

bool StoreQueue::Drain(absl::Time deadline) {
  absl::MutexLock lock(&mutex_);
  const auto idle = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return tasks_.empty() && !busy_; };
  return mutex_.AwaitWithDeadline(absl::Condition(&idle), deadline);
}

int64_t StoreQueue::queued_bytes() const {
  absl::MutexLock lock(&mutex_);
  return bytes_;
}

QueuedStore::QueuedStore(StoreQueue& queue, std::shared_ptr<StoreQueue::Stream> stream, const StoreBackOptions& options,
                         int64_t most_rows)
    : queue_(queue),
      stream_(std::move(stream)),
      kv_layers_(options.kv_layers),
      e_layers_(options.e_layers),
      e_bytes_(static_cast<int64_t>(options.ns.layout.e_bytes() / options.ns.layout.block_tokens)),
      k_bytes_(static_cast<int64_t>(options.ns.layout.k_bytes() / options.ns.layout.block_tokens)),
      last_layer_(std::max(kv_layers_.empty() ? -1 : kv_layers_.back(), e_layers_.empty() ? -1 : e_layers_.back())),
      most_rows_(most_rows) {}

QueuedStore::~QueuedStore() {
  Flush(/*end=*/true);
}

bool QueuedStore::goes_on() {
  if (!stream_->ended) return true;
  steps_.clear();
  queue_.Release(std::exchange(bytes_, 0));
  return false;
}

StoreQueue::Step& QueuedStore::StepOf(int64_t layer, int64_t row) {
  if (!steps_.empty() && !steps_.back().layers.empty()) {
    const StoreQueue::Step& last = steps_.back();
    if (last.row == row && last.layers.back().kv.layer < layer) return steps_.back();
    if (last.layers.back().kv.layer != last_layer_) {
      bytes_ -= last.bytes;
      queue_.Release(last.bytes);
      steps_.pop_back();
    }
  }
  return steps_.emplace_back(StoreQueue::Step{.tokens = {}, .row = row, .layers = {}});
}

absl::Status QueuedStore::OnLayer(const LayerKv& kv, int64_t row) {
  const bool with_e = Has(e_layers_, kv.layer), with_kv = Has(kv_layers_, kv.layer);
  if (!goes_on() || (!with_e && !with_kv)) return absl::OkStatus();
  if (row + kv.rows <= stream_->first_row) return absl::OkStatus();
  StoreQueue::Step& step = StepOf(kv.layer, row);
  const int64_t e_bytes = with_e ? e_bytes_ : 0, k_bytes = with_kv ? k_bytes_ : 0;
  const int64_t bytes = kv.rows * (e_bytes + 2 * k_bytes);
  if (!queue_.Reserve(bytes)) {
    queue_.CutShort(*stream_);
    (void)goes_on();
    return absl::OkStatus();
  }
  bytes_ += bytes;
  step.bytes += bytes;
  auto memory = std::make_unique_for_overwrite<std::byte[]>(bytes);
  const LayerKv copied = LayerIn(memory.get(), kv.layer, kv.rows, e_bytes, k_bytes);
  CopyRows(kv, copied);
  step.layers.push_back({copied, std::move(memory)});
  // While the next layers are computed, not while tokens are waited for.
  if (bytes_ >= queue_.options_.flush_bytes) Flush(/*end=*/false);
  return absl::OkStatus();
}

void QueuedStore::Append(int32_t token) {
  if (!goes_on()) return;
  steps_.push_back({.tokens = {token}, .layers = {}});
  if (++tokens_ >= kFlushTokens) Flush(/*end=*/false);
}

void QueuedStore::Flush(bool end) {
  queue_.Post({.stream = stream_,
               .begin = nullptr,
               .steps = std::exchange(steps_, {}),
               .end = end,
               .bytes = std::exchange(bytes_, 0)});
  tokens_ = 0;
}

}  // namespace droidspeak
