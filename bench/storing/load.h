// SPDX-License-Identifier: Apache-2.0
// One engine that answers prompts with and without storing what it computes: in the same process, with the same
// weights, slots and threads, so that a difference is the storing's.
#pragma once

#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/base/metrics.h"
#include "engine/model/model.h"
#include "engine/prefill/remote_cache.h"
#include "engine/prefill/store_queue.h"
#include "engine/scheduler/context_opener.h"
#include "engine/scheduler/scheduler.h"

namespace droidspeak::bench {

struct StoringShape {
  std::string model;  // checkpoint
  std::string dtype = "bf16";
  std::string keep_e = "all";  // as of droidspeak-engine serve
  int64_t prompt_tokens = 2048, answer_tokens = 64, block_tokens = 256;
};

// What `droidspeak-bench serve` calls them, counted from the scheduler's queue on: without HTTP.
struct AnswerTimes {
  double ttft_ms = 0;
  double tpot_ms = 0;
};

// That one prompt of that shape leaves on the servers.
[[nodiscard]] absl::StatusOr<int64_t> StoredBytes(const StoringShape& shape);

// Owns the model, its scheduler and its session. Used by one thread.
class StoringLoad {
 public:
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<StoringLoad>> Start(const StoringShape& shape,
                                                                          std::unique_ptr<Client> client);
  ~StoringLoad();

  // Answers a prompt of random ids, which nobody has seen. Returns when the last token is there and, with `stores`, all
  // is on the servers. DATA_LOSS: it is not.
  [[nodiscard]] absl::StatusOr<AnswerTimes> Answer(bool stores);

 private:
  explicit StoringLoad(const StoringShape& shape) : shape_(shape) {}
  // That the servers have all blocks of the prompt.
  [[nodiscard]] absl::Status CheckStored(const std::vector<int32_t>& prompt) const;

  const StoringShape shape_;
  std::mt19937 random_{1};
  int64_t asked_ = 0;
  std::vector<int64_t> e_layers_;
  // In the order in which they are made.
  Metrics metrics_;
  EngineMetrics engine_metrics_{metrics_};
  std::shared_ptr<const Model> model_;
  std::unique_ptr<RemoteCache> cache_;
  ServedModel stores_;   // has a cache of its own
  ServedModel without_;  // has none
  std::unique_ptr<StoreQueue> queue_;
  std::unique_ptr<ContextOpener> contexts_;
  std::unique_ptr<Scheduler> scheduler_;
};

}  // namespace droidspeak::bench
