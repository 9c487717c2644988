// SPDX-License-Identifier: Apache-2.0
// Finding what the cache servers have of a prompt, apart from the thread that computes.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/base/thread.h"
#include "engine/prefill/context_source.h"
#include "engine/prefill/remote_cache.h"
#include "engine/prefill/server_source.h"

namespace droidspeak {

// Another model whose cache may be reused, and how.
struct ContextSender {
  std::string name;
  ModelNamespaces namespaces;
  int64_t common_vocabulary = 0;  // a context ends before the first id that is not below it
  Plan plan;
};

// A context on its way.
struct OpenedContext {
  // Of the rows that stand in the target, the leading ones to use: those behind are computed again, since the servers
  // have lost them and it is by being computed that they are stored.
  int64_t resident_tokens = 0;
  std::unique_ptr<ContextSource> source;  // begun; null when the servers have nothing that is of use
  const ContextSender* sender = nullptr;  // null: only the model's own blocks are used, and the plan is full
};

// Looks contexts up and begins their transfer, one after the other, on a thread of its own. Thread-safe.
class ContextOpener {
 public:
  struct Request {
    std::vector<int32_t> tokens;           // that may be context: all of the prompt but its last token at most
    int64_t reach = 0;                     // of the sequence (rope_config.h)
    int64_t resident_tokens = 0;           // stand in the target already
    const ModelNamespaces* own = nullptr;  // of the model that reads it; outlives the opener
    bool use_senders = true;
    ContextTarget target;                     // valid until `done` has been called and the source is gone
    std::function<void(OpenedContext)> done;  // called on the opener's thread
  };

  // `cache` outlives it. `layers`: of the model. Its own blocks without E of `own_e_layers` count as missing, so that
  // it is computed and stored.
  ContextOpener(RemoteCache& cache, int64_t layers, std::vector<int64_t> own_e_layers,
                std::vector<ContextSender> senders);
  // Requests that have not begun are dropped: their `done` is not called.
  ~ContextOpener();
  ContextOpener(const ContextOpener&) = delete;
  ContextOpener& operator=(const ContextOpener&) = delete;

  void Open(Request request);
  // Ends a context's transfer and forgets it, which may wait for servers.
  void Close(std::unique_ptr<ContextSource> source);

 private:
  void Run(const std::stop_token& stop);
  void Answer(Request& request);
  // Looked up, with `sender` or, null, without any; null when nothing of the sequence is cached.
  [[nodiscard]] std::unique_ptr<ServerSource> LookUp(const Request& request, const ContextSender* sender);
  [[nodiscard]] OpenedContext OpenNow(Request& request);
  // Of request.resident_tokens, those to use.
  [[nodiscard]] int64_t ResidentTokens(const Request& request);

  RemoteCache& cache_;
  const Plan full_;
  const std::vector<int64_t> own_e_layers_;
  const std::vector<ContextSender> senders_;
  // The thread's.
  absl::flat_hash_map<Digest, absl::Time> missing_since_;  // the first block that servers lack of a sequence
  absl::Time next_repair_ = absl::InfinitePast();
  absl::Mutex mutex_;
  std::deque<Request> requests_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::unique_ptr<ContextSource>> closing_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  Thread thread_;
};

}  // namespace droidspeak
