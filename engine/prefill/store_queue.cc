// SPDX-License-Identifier: Apache-2.0
#include "engine/prefill/store_queue.h"

#include <algorithm>
#include <utility>

#include "ATen/ops/empty.h"
#include "absl/time/clock.h"
#include "common/base/log.h"
#include "common/base/text.h"
#include "engine/model/torch_types.h"

namespace droidspeak {
namespace {

// What is worth waking the thread for.
constexpr int64_t kFlushBytes = 1 << 20;
constexpr int64_t kFlushTokens = 16;
constexpr absl::Duration kSealTimeout = absl::Seconds(10);

bool Has(const std::vector<int64_t>& layers, int64_t layer) {
  return std::binary_search(layers.begin(), layers.end(), layer);
}

at::Tensor Copy(const at::Tensor& tensor) {
  return tensor.clone(at::MemoryFormat::Contiguous);
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
  std::unique_ptr<QueuedStore> sink(new QueuedStore(*this, stream, options));
  const Layout& layout = options.ns.layout;
  const int64_t block =
      ExtentUnit(config_, layout.kv, layout.block_tokens, options.kv_layers, options.e_layers).unit_bytes();
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
  if (!Post({.stream = stream, .begin = begin, .steps = {}, .bytes = bytes})) CutShort(*stream);
  return sink;
}

void StoreQueue::CutShort(Stream& stream) {
  if (!stream.ended.exchange(true)) cut_short_.fetch_add(1, std::memory_order_relaxed);
}

bool StoreQueue::Post(Task task) {
  absl::MutexLock lock(&mutex_);
  if (task.bytes > 0 && bytes_ + task.bytes > options_.copy_bytes) return false;
  if (task.begin != nullptr) {
    if (staging_bytes_ + task.stream->staging_bytes > options_.staging_bytes) return false;
    staging_bytes_ += task.stream->staging_bytes;
    task.stream->begun = true;
  }
  bytes_ += task.bytes;
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
    for (const Step& step : task.steps) step(*stream.store);
    return task.end ? stream.store->Finish(/*durable=*/false, absl::Now() + kSealTimeout) : absl::OkStatus();
  });
  if (!status.ok()) {
    spdlog::debug("a sequence is stored in part: {}", ToStd(status.message()));
    stream.ended = true;
  }
  if (task.end || stream.ended) stream.store.reset();
  task.steps.clear();  // the copies
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

QueuedStore::QueuedStore(StoreQueue& queue, std::shared_ptr<StoreQueue::Stream> stream, const StoreBackOptions& options)
    : queue_(queue), stream_(std::move(stream)), kv_layers_(options.kv_layers), e_layers_(options.e_layers) {}

QueuedStore::~QueuedStore() {
  Flush(/*end=*/true);
}

absl::Status QueuedStore::OnLayer(const LayerKv& kv, int64_t row) {
  const bool with_e = Has(e_layers_, kv.layer), with_kv = Has(kv_layers_, kv.layer);
  if (stream_->ended || (!with_e && !with_kv)) return absl::OkStatus();
  const int64_t rows = kv.e.size(0);
  if (row + rows <= stream_->first_row) return absl::OkStatus();
  // The number of rows is read off E.
  const at::Tensor e = with_e ? Copy(kv.e) : at::empty({rows, 0}, kv.e.options());
  const at::Tensor k = Copy(kv.k), v = Copy(kv.v);
  bytes_ += static_cast<int64_t>(e.nbytes() + k.nbytes() + v.nbytes());
  steps_.emplace_back([layer = kv.layer, row, e, k, v](StoreBack& store) {
    store.OnLayer({.layer = layer, .e = e, .k = k, .v = v}, row).IgnoreError();  // Finish tells
  });
  if (bytes_ >= kFlushBytes) Flush(/*end=*/false);
  return absl::OkStatus();
}

void QueuedStore::Append(int32_t token) {
  if (stream_->ended) return;
  steps_.emplace_back([token](StoreBack& store) { store.Append(absl::MakeConstSpan(&token, 1)); });
  if (++tokens_ >= kFlushTokens) Flush(/*end=*/false);
}

void QueuedStore::Flush(bool end) {
  const bool posted =
      steps_.empty() || queue_.Post({.stream = stream_, .begin = nullptr, .steps = std::move(steps_), .bytes = bytes_});
  if (!posted) queue_.CutShort(*stream_);
  steps_.clear();
  bytes_ = tokens_ = 0;
  if (end) queue_.Post({.stream = stream_, .begin = nullptr, .steps = {}, .end = true});
}

}  // namespace droidspeak
