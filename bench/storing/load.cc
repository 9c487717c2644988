// SPDX-License-Identifier: Apache-2.0
#include "bench/storing/load.h"

#include <array>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "common/base/status.h"
#include "engine/commands/options.h"

namespace droidspeak::bench {
namespace {

constexpr absl::Duration kPatience = absl::Minutes(5);  // for what is stored after an answer's end
constexpr int64_t kSequencesInSlab = 4;

// Notes when tokens come.
class TimedAnswer : public AnswerListener {
 public:
  [[nodiscard]] bool wanted() const override { return true; }
  void OnPrompt(const PromptReport& report) override { reused_ = report.context_tokens; }
  [[nodiscard]] bool OnToken(const Choice& /*choice*/) override {
    last_ = absl::Now();
    if (tokens_++ == 0) first_ = last_;
    return true;
  }
  void OnEnd(EndReason reason, const absl::Status& status) override {
    if (reason != EndReason::kLength)
      status_ = absl::InternalError(absl::StrCat("no whole answer: ", status.message()));
    ended_.Notify();
  }

  // Waits for the end.
  absl::StatusOr<AnswerTimes> Times() {
    ended_.WaitForNotification();
    if (!status_.ok()) return status_;
    if (reused_ != 0) return absl::InternalError(absl::StrCat(reused_, " rows of a new prompt were not computed"));
    AnswerTimes times{.ttft_ms = absl::ToDoubleMilliseconds(first_ - sent_)};
    times.tpot_ms = absl::ToDoubleMilliseconds(last_ - first_) / static_cast<double>(tokens_ - 1);
    return times;
  }

 private:
  const absl::Time sent_ = absl::Now();
  absl::Time first_, last_;
  int64_t tokens_ = 0;
  int64_t reused_ = 0;
  absl::Status status_;
  absl::Notification ended_;
};

}  // namespace

absl::StatusOr<int64_t> StoredBytes(const StoringShape& shape) {
  ASSIGN_OR_RETURN(const ModelConfig config, LoadModelConfig(shape.model));
  ASSIGN_OR_RETURN(const Dtype dtype, ParseDtype(shape.dtype));
  ASSIGN_OR_RETURN(const std::vector<int64_t> e_layers, ParseKeepE(shape.keep_e, config.layers));
  const int64_t kv_row = 2 * config.kv_heads * config.head_dim;
  const int64_t numbers = config.layers * kv_row + static_cast<int64_t>(e_layers.size()) * config.hidden_size;
  const int64_t rows = shape.prompt_tokens / shape.block_tokens * shape.block_tokens;
  return rows * numbers * static_cast<int64_t>(DtypeBytes(dtype));
}

absl::StatusOr<std::unique_ptr<StoringLoad>> StoringLoad::Start(const StoringShape& shape,
                                                                std::unique_ptr<Client> client) {
  std::unique_ptr<StoringLoad> load(new StoringLoad(shape));
  ASSIGN_OR_RETURN(const Dtype dtype, ParseDtype(shape.dtype));
  ASSIGN_OR_RETURN(load->model_, Model::Load(shape.model, dtype));
  const ModelConfig& config = load->model_->config();
  ASSIGN_OR_RETURN(load->e_layers_, ParseKeepE(shape.keep_e, config.layers));
  load->cache_ = std::make_unique<RemoteCache>(std::move(client));
  load->without_.name = "without";
  load->stores_.name = "stores";
  ASSIGN_OR_RETURN(load->stores_.own, load->cache_->OpenModel(shape.model, config, dtype, shape.block_tokens));
  load->queue_ = std::make_unique<StoreQueue>(*load->cache_, config);
  load->contexts_ =
      std::make_unique<ContextOpener>(*load->cache_, config.layers, load->e_layers_, std::vector<ContextSender>{});
  SchedulerOptions options{.slots = kSequencesInSlab * (shape.prompt_tokens + shape.answer_tokens),
                           .e_layers = load->e_layers_};
  ASSIGN_OR_RETURN(load->scheduler_, Scheduler::Start(load->model_, load->contexts_.get(), load->queue_.get(),
                                                      load->engine_metrics_, std::move(options)));
  return load;
}

StoringLoad::~StoringLoad() = default;

absl::StatusOr<AnswerTimes> StoringLoad::Answer(bool stores) {
  std::vector<int32_t> prompt(shape_.prompt_tokens);
  const int64_t vocabulary = model_->config().vocab_size;
  for (int32_t& token : prompt) token = static_cast<int32_t>(random_() % vocabulary);
  prompt[0] = static_cast<int32_t>(asked_++ % vocabulary);  // so that none begins as one that is still in the slab
  const auto answer = std::make_shared<TimedAnswer>();
  GenerationRequest request{.model = stores ? &stores_ : &without_,
                            .prompt = prompt,
                            .max_tokens = shape_.answer_tokens,
                            .sampling = {.temperature = 0},
                            .listener = answer};
  RETURN_IF_ERROR(scheduler_->Submit({std::move(request)}));
  ASSIGN_OR_RETURN(const AnswerTimes times, answer->Times());
  if (stores) RETURN_IF_ERROR(CheckStored(prompt));
  return times;
}

absl::Status StoringLoad::CheckStored(const std::vector<int32_t>& prompt) const {
  if (!queue_->Drain(absl::Now() + kPatience)) {
    return absl::DeadlineExceededError(absl::StrCat("not stored within ", absl::FormatDuration(kPatience)));
  }
  const NamespaceHandle* const ns = stores_.own.For(shape_.prompt_tokens + shape_.answer_tokens - 1);
  if (ns == nullptr) return absl::InvalidArgumentError("no sequence of that length is stored: see its RoPE");
  const std::vector<Digest> chain = ChainOf(*ns, prompt);
  const auto has = [](const std::array<uint64_t, 4>& layers, int64_t layer) {
    return (layers[layer / 64] >> (layer % 64) & 1) != 0;
  };
  for (const BlockCoverage& block : cache_->client().Coverage(*ns, chain)) {
    bool whole = true;
    for (int64_t layer = 0; layer < model_->config().layers; ++layer) whole = whole && has(block.kv, layer);
    for (const int64_t layer : e_layers_) whole = whole && has(block.e, layer);
    if (!whole) return absl::DataLossError("the servers have only a part of a prompt; is there room?");
  }
  return absl::OkStatus();
}

}  // namespace droidspeak::bench
