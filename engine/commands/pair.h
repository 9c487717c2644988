// SPDX-License-Identifier: Apache-2.0
// A receiver and, perhaps, the sender whose context it reuses: what the commands have in common beyond options.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/commands/options.h"
#include "engine/model/model.h"
#include "engine/prefill/fill_context.h"
#include "engine/prefill/in_process_source.h"
#include "engine/prefill/partial_prefill.h"
#include "engine/prefill/remote_cache.h"
#include "engine/prefill/server_source.h"

namespace droidspeak {

// How a Pair gets its context.
struct PairOptions {
  EngineOptions engine;
  std::string receiver;
  std::string sender;          // empty = none
  bool run_sender = true;      // this process runs it; otherwise only its configuration and digest are read
  bool use_own_cache = false;  // look up the receiver's own blocks, too
};

// Models and server session of one command. Its methods are called by one thread.
class Pair {
 public:
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<Pair>> Open(const PairOptions& options);

  [[nodiscard]] const Model& receiver() const { return *receiver_; }
  [[nodiscard]] bool has_sender() const { return sender_config_.has_value(); }
  [[nodiscard]] RemoteCache* servers() const { return servers_.get(); }  // null without --servers
  // Where the receiver's own tensors of a sequence of that reach (rope_config.h) are kept; null where they are not.
  [[nodiscard]] const NamespaceHandle* own_namespace(int64_t reach) const;

  // The longest context of `wanted` leading tokens that can be reused: up to the first id that the sender doesn't know,
  // and with servers whole blocks.
  [[nodiscard]] int64_t UsableContext(absl::Span<const int32_t> tokens, int64_t wanted) const;

  // Runs the sender over `context`, of a sequence of that reach, and leaves what `plans` need: in this process, or all
  // of it on the servers.
  [[nodiscard]] absl::Status Prepare(absl::Span<const int32_t> context, int64_t reach, const std::vector<Plan>& plans);

  // The source of a context prepared last (in process), or whatever the servers have of it. Valid until the next
  // Prepare. Null when there is nothing to reuse.
  [[nodiscard]] std::unique_ptr<ContextSource> Source(absl::Span<const int32_t> context, int64_t reach);

 private:
  Pair() = default;
  absl::Status OpenSender(const PairOptions& options);

  std::shared_ptr<const Model> receiver_;
  std::shared_ptr<const Model> sender_;  // null when it isn't run here
  std::optional<ModelConfig> sender_config_;
  int64_t common_vocabulary_ = 0;
  int64_t block_tokens_ = 0;
  std::unique_ptr<RemoteCache> servers_;
  std::optional<ModelNamespaces> own_, sender_namespaces_;
  std::unique_ptr<ContextCache> context_;  // in process, of the last Prepare
};

}  // namespace droidspeak
