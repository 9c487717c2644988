// SPDX-License-Identifier: Apache-2.0
// `droidspeak-bench engine`: prefill against a loop of its matrix products and attention alone, decoding against
// reading the weights once a token.
#include <iostream>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "bench/command.h"
#include "bench/engine/bounds.h"
#include "bench/report.h"
#include "common/base/malloc.h"
#include "common/base/status.h"
#include "engine/model/forward.h"
#include "engine/prefill/decode.h"
#include "engine/prefill/partial_prefill.h"
#include "engine/prefill/sequence.h"

namespace droidspeak::bench {
namespace {

constexpr double kPrefillTarget = 0.9;  // of the products and the attention
constexpr double kDecodeTarget = 0.8;   // of reading the weights
constexpr int64_t kBatch = 8;           // answers that are decoded together

struct EngineOptions {
  std::string model, dtype = "bf16";
  int64_t tokens = 2048, decode = 32;
  int repeats = 5;
  bool json = false;
};

// One prompt and its answer, again and again in the same slots.
class EngineLoad {
 public:
  static absl::StatusOr<std::unique_ptr<EngineLoad>> Create(const EngineOptions& options);

  const Model& model() const { return *model_; }
  // Seconds to the last row's logits.
  absl::StatusOr<double> Prefill();
  // Seconds a token, behind the prompt.
  absl::StatusOr<double> Decode();
  // Seconds a token of each of kBatch answers, all behind that prompt.
  absl::StatusOr<double> DecodeBatch();

 private:
  EngineOptions options_;
  std::shared_ptr<const Model> model_;
  Sequence sequence_;             // the slab's first run
  std::vector<SlotRun> answers_;  // and those of the batch
  std::vector<int32_t> tokens_;
};

absl::StatusOr<std::unique_ptr<EngineLoad>> EngineLoad::Create(const EngineOptions& options) {
  auto load = std::make_unique<EngineLoad>();
  load->options_ = options;
  ASSIGN_OR_RETURN(const Dtype dtype, ParseDtype(options.dtype));
  ASSIGN_OR_RETURN(load->model_, Model::Load(options.model, dtype));
  const ModelConfig& config = load->model_->config();
  if (options.tokens + options.decode > config.max_positions) {
    return absl::InvalidArgumentError(absl::StrCat("--tokens and --decode: ", options.tokens, " and ", options.decode,
                                                   "; the model's limit is ", config.max_positions));
  }
  std::mt19937 random(1);
  load->tokens_.resize(options.tokens);
  for (int32_t& token : load->tokens_) token = static_cast<int32_t>(random() % config.vocab_size);
  const int64_t slots = options.tokens + options.decode;
  ASSIGN_OR_RETURN(load->sequence_, Sequence::Create(*load->model_, (1 + kBatch) * slots));
  SlotRun& run = load->sequence_.run;
  for (int64_t i = 1; i <= kBatch; ++i) load->answers_.push_back({.first = run.first + i * slots, .count = slots});
  run.count = slots;
  return load;
}

absl::StatusOr<double> EngineLoad::Prefill() {
  ASSIGN_OR_RETURN(const PrefillResult result, PartialPrefill(*model_, *sequence_.slab,
                                                              {.tokens = tokens_,
                                                               .run = sequence_.run,
                                                               .reach = options_.tokens + options_.decode,
                                                               .plan = Plan::Full(model_->config().layers)}));
  return absl::ToDoubleSeconds(result.total_time);
}

absl::StatusOr<double> EngineLoad::Decode() {
  Sampler sampler({.temperature = 0});
  const absl::Time start = absl::Now();
  ASSIGN_OR_RETURN(const std::vector<int32_t> answer, droidspeak::Decode(*model_, *sequence_.slab, sampler,
                                                                         {.run = sequence_.run,
                                                                          .reach = options_.tokens + options_.decode,
                                                                          .position = options_.tokens,
                                                                          .first = 1,
                                                                          .max_tokens = options_.decode + 1}));
  // The first token is given, each other takes a forward.
  return absl::ToDoubleSeconds(absl::Now() - start) / static_cast<double>(answer.size() - 1);
}

absl::StatusOr<double> EngineLoad::DecodeBatch() {
  for (const SlotRun& run : answers_) sequence_.slab->Copy(sequence_.run.first, run.first, options_.tokens);
  const std::shared_ptr<const Rope> rope = model_->RopeFor(options_.tokens + options_.decode);
  std::vector<Row> rows;
  for (int64_t i = 0; i < kBatch; ++i)
    rows.push_back({.token = 1, .sequence = static_cast<int32_t>(i), .rope = rope.get()});
  const absl::Time start = absl::Now();
  for (int64_t position = options_.tokens; position < options_.tokens + options_.decode; ++position) {
    for (int64_t i = 0; i < kBatch; ++i) {
      rows[i].position = static_cast<int32_t>(position);
      rows[i].slot = answers_[i].first + position;
    }
    ForwardInput input;
    input.rows = rows;
    input.wanted = AllRows(rows);
    RETURN_IF_ERROR(Forward(*model_, *sequence_.slab, input).status());
  }
  return absl::ToDoubleSeconds(absl::Now() - start) / static_cast<double>(options_.decode);
}

absl::Status RunEngine(const EngineOptions& options) {
  ASSIGN_OR_RETURN(const std::unique_ptr<EngineLoad> load, EngineLoad::Create(options));
  ASSIGN_OR_RETURN(const EngineBounds bounds, EngineBounds::Create(load->model(), options.tokens));
  std::vector<double> prefill, products, decode, batch, stream, of_products, of_stream, batch_of_stream;
  for (int round = -1; round < options.repeats; ++round) {  // the first round warms up
    ASSIGN_OR_RETURN(const double prefill_s, load->Prefill());
    const double products_s = bounds.Products();
    ASSIGN_OR_RETURN(const double decode_s, load->Decode());
    const double stream_s = bounds.Stream();
    ASSIGN_OR_RETURN(const double batch_s, load->DecodeBatch());
    if (round < 0) continue;
    prefill.push_back(1e3 * prefill_s);
    products.push_back(1e3 * products_s);
    decode.push_back(1e3 * decode_s);
    stream.push_back(1e3 * stream_s);
    batch.push_back(1e3 * batch_s);
    of_products.push_back(products_s / prefill_s);
    of_stream.push_back(stream_s / decode_s);
    batch_of_stream.push_back(stream_s / batch_s);
  }
  Report report("engine");
  report.Setting("prompt_tokens", options.tokens);
  report.Setting("decoded_tokens", options.decode);
  report.Setting("dtype", options.dtype);
  report.Setting("layers", load->model().config().layers);
  report.Setting("weight_bytes", load->model().weight_bytes());
  report.Setting("repeats", options.repeats);
  report.Result("prefill", "ms", prefill);
  report.Result("prefill's products and attention alone", "ms", products);
  report.Result("decode, a token", "ms", decode);
  report.Result("reading the weights", "ms", stream);
  report.Result(absl::StrCat("decode, a token of each of ", kBatch), "ms", batch);
  report.Ratio("products and attention/prefill", Median(of_products));
  report.Target("products and attention/prefill", kPrefillTarget);
  report.Ratio("reading the weights/decode", Median(of_stream));
  report.Target("reading the weights/decode", kDecodeTarget);
  report.Ratio(absl::StrCat("reading the weights/decode of ", kBatch), Median(batch_of_stream));
  report.Baseline(products);
  report.Print(options.json);
  return absl::OkStatus();
}

}  // namespace

Command AddEngineCommand(CLI::App& app) {
  CLI::App* const command =
      app.add_subcommand("engine", "Prefill and decoding of one sequence, against what the processor allows");
  auto* const options = new EngineOptions;  // lives as long as the program
  command->add_option("--model", options->model, "Checkpoint")->required();
  command->add_option("--dtype", options->dtype, "fp32 or bf16")->check(CLI::IsMember({"fp32", "bf16"}));
  command->add_option("--tokens", options->tokens, "Tokens of the prompt")->check(CLI::Range(1, 1 << 20));
  command->add_option("--decode", options->decode, "Tokens decoded behind it")->check(CLI::Range(1, 1 << 16));
  command->add_option("--repeats", options->repeats, "Rounds measured")->check(CLI::Range(1, 1000));
  command->add_flag("--json", options->json, "One JSON object");
  return {command, [options] {
            KeepAllFreedBuffers();
            const absl::Status measured = RunEngine(*options);
            if (measured.ok()) return kExitOk;
            std::cerr << "engine: " << measured << "\n";
            return kExitFailed;
          }};
}

}  // namespace droidspeak::bench
