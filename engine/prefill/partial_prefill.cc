// SPDX-License-Identifier: Apache-2.0
#include "engine/prefill/partial_prefill.h"

#include <algorithm>
#include <vector>

#include "ATen/ops/cat.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/status.h"
#include "engine/model/torch_types.h"

namespace droidspeak {
namespace {

// Stands for "nothing to reuse".
class NoSource : public ContextSource {
 public:
  absl::Status Begin(const Plan&, const ContextTarget&) override { return absl::OkStatus(); }
  int64_t tokens() const override { return 0; }
  int64_t own_tokens() const override { return 0; }
  at::Tensor E(int64_t, int64_t, int64_t) override { return {}; }
  void EndRepair() override {}
  void Poll() override {}
  void Place(int64_t) override {}
  void PlaceAll() override {}
  SourceStats stats() const override { return {}; }
  std::string loss() const override { return ""; }
};

// One forward's view of the context: waits for the layer's KV before attention reads it, and hands on exact tensors.
class StepHooks : public ForwardHooks {
 public:
  // Captures layers below `exact_layers`.
  StepHooks(ContextSource& source, CaptureSink* capture, int64_t context_rows, int64_t exact_layers)
      : source_(source), capture_(capture), context_rows_(context_rows), exact_layers_(exact_layers) {}

  void set_row(int64_t row) { row_ = row; }

  absl::Status OnKv(const LayerKv& kv) override {
    source_.Place(kv.layer);
    if (source_.tokens() < context_rows_) return absl::AbortedError("context lost");
    if (capture_ == nullptr || kv.layer >= exact_layers_) return absl::OkStatus();
    return capture_->OnLayer(kv, row_);
  }

 private:
  ContextSource& source_;
  CaptureSink* const capture_;
  const int64_t context_rows_;  // rows below this are needed by this forward
  const int64_t exact_layers_;
  int64_t row_ = 0;
};

class Prefill {
 public:
  Prefill(const Model& model, KvSlab& slab, const PrefillRequest& request, ContextSource& source)
      : model_(model),
        slab_(slab),
        request_(request),
        source_(source),
        rope_(model.RopeFor(std::max(request.reach, static_cast<int64_t>(request.tokens.size())))) {}

  absl::StatusOr<PrefillResult> Run();

 private:
  int64_t length() const { return static_cast<int64_t>(request_.tokens.size()); }
  int64_t first_wanted() const { return request_.first_wanted < 0 ? length() - 1 : request_.first_wanted; }
  // Leading rows that the suffix doesn't compute.
  int64_t context_rows() const { return request_.plan.is_full() ? source_.own_tokens() : source_.tokens(); }
  std::vector<Row> Rows(int64_t begin, int64_t end) const {
    return MakeRows(request_.tokens.subspan(begin, end - begin), begin, request_.run.first, *rope_);
  }

  absl::Status Check() const;
  absl::Status Repair(const LayerRun& run);
  absl::StatusOr<int64_t> RepairStep(const LayerRun& run, int64_t row);
  absl::StatusOr<at::Tensor> Suffix(int64_t context);
  absl::StatusOr<at::Tensor> SuffixWithRestarts();

  const Model& model_;
  KvSlab& slab_;
  const PrefillRequest& request_;
  ContextSource& source_;
  const std::shared_ptr<const Rope> rope_;
};

absl::Status Prefill::Check() const {
  if (request_.tokens.empty()) return absl::InvalidArgumentError("a prompt has at least one token");
  if (length() > request_.run.count) {
    return absl::InvalidArgumentError(absl::StrCat(length(), " tokens don't fit ", request_.run.count, " slots"));
  }
  if (request_.plan.layers() != model_.config().layers) {
    return absl::InvalidArgumentError(absl::StrCat("plan \"", request_.plan.text(), "\" is for ",
                                                   request_.plan.layers(), " layers, the model has ",
                                                   model_.config().layers));
  }
  if (context_rows() > std::min(length() - 1, first_wanted())) {
    return absl::InvalidArgumentError(absl::StrCat("a context of ", context_rows(),
                                                   " tokens leaves no row to compute of ", length(), ", wanted from ",
                                                   first_wanted()));
  }
  return absl::OkStatus();
}

absl::StatusOr<int64_t> Prefill::RepairStep(const LayerRun& run, int64_t row) {
  ForwardInput input;
  int64_t end = std::min(row + kRepairStepTokens, source_.tokens());
  if (run.begin > 0) {
    input.e = source_.E(run.begin, row, kRepairStepTokens);
    if (!input.e.defined()) return row;
    end = row + input.e.size(0);
  }
  const std::vector<Row> rows = Rows(row, end);
  StepHooks hooks(source_, request_.capture, row, request_.plan.exact_layers());
  hooks.set_row(row);
  input.rows = rows;
  input.first_layer = run.begin;
  input.end_layer = run.end;
  input.kv_only_in_last_layer = true;
  input.hooks = &hooks;
  RETURN_IF_ERROR(Forward(model_, slab_, input).status());
  source_.Poll();
  return end;
}

absl::Status Prefill::Repair(const LayerRun& run) {
  int64_t row = source_.own_tokens();
  while (row < source_.tokens()) {
    absl::StatusOr<int64_t> next = RepairStep(run, row);
    if (next.ok()) {
      row = *next;
    } else if (source_.tokens() >= row) {
      return next.status();  // not a loss below this step's rows, which alone may end a step early
    }
  }
  return absl::OkStatus();
}

// Rows from `context` to the end through all layers. ABORTED when a part of the context was lost meanwhile.
absl::StatusOr<at::Tensor> Prefill::Suffix(int64_t context) {
  // The suffix is exact as long as every row before it is the receiver's own.
  const bool exact = context <= source_.own_tokens();
  StepHooks hooks(source_, request_.capture, context, exact ? model_.config().layers : 0);
  std::vector<at::Tensor> logits;
  for (int64_t row = context; row < length(); row += kPrefillStepTokens) {
    const int64_t end = std::min(row + kPrefillStepTokens, length());
    const std::vector<Row> rows = Rows(row, end);
    hooks.set_row(row);
    ForwardInput input;
    input.rows = rows;
    input.hooks = &hooks;
    for (int64_t wanted = std::max(row, first_wanted()); wanted < end; ++wanted) input.wanted.push_back(wanted - row);
    ASSIGN_OR_RETURN(ForwardResult result, Forward(model_, slab_, input));
    if (result.logits.defined()) logits.push_back(std::move(result.logits));
  }
  return logits.size() == 1 ? logits[0] : at::cat(logits);
}

absl::StatusOr<at::Tensor> Prefill::SuffixWithRestarts() {
  for (;;) {
    const int64_t context = context_rows();
    absl::StatusOr<at::Tensor> logits = Suffix(context);
    if (logits.ok() || context_rows() >= context) return logits;
    // Whatever else is lost is lost by now or soon: the next start is the last one.
    source_.PlaceAll();
  }
}

absl::StatusOr<PrefillResult> Prefill::Run() {
  const absl::Time start = absl::Now();
  RETURN_IF_ERROR(source_.Begin(request_.plan, {&slab_, rope_.get(), request_.run.first}));
  RETURN_IF_ERROR(Check());
  if (!request_.plan.is_full()) {
    for (const LayerRun& run : request_.plan.runs()) RETURN_IF_ERROR(Repair(run));
  }
  source_.EndRepair();
  PrefillResult result;
  result.context_time = absl::Now() - start;
  ASSIGN_OR_RETURN(result.logits, SuffixWithRestarts());
  result.total_time = absl::Now() - start;
  result.context_tokens = context_rows();
  result.own_tokens = std::min(source_.own_tokens(), result.context_tokens);
  result.stats = source_.stats();
  result.fallback = source_.loss();
  return result;
}

}  // namespace

absl::StatusOr<PrefillResult> PartialPrefill(const Model& model, KvSlab& slab, const PrefillRequest& request) {
  NoSource nothing;
  ContextSource& source = request.source != nullptr ? *request.source : nothing;
  return WithoutExceptions("prefill", [&] { return Prefill(model, slab, request, source).Run(); });
}

}  // namespace droidspeak
