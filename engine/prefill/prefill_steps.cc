// SPDX-License-Identifier: Apache-2.0
#include "engine/prefill/prefill_steps.h"

#include <algorithm>
#include <utility>

#include "ATen/ops/cat.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/status.h"
#include "engine/model/torch_types.h"
#include "engine/prefill/resident_source.h"

namespace droidspeak {
namespace {

// One forward's view of the context: waits for the layer's KV before attention reads it, and hands on exact tensors.
class StepHooks : public ForwardHooks {
 public:
  // The batch's first row is `row` of its sequence; rows below `context_rows` are needed by this forward; layers below
  // `exact_layers` are captured.
  StepHooks(ContextSource& source, CaptureSink* capture, int64_t row, int64_t context_rows, int64_t exact_layers)
      : source_(source), capture_(capture), row_(row), context_rows_(context_rows), exact_layers_(exact_layers) {}

  absl::Status OnKv(const LayerKv& kv) override {
    source_.Place(kv.layer);
    if (source_.tokens() < context_rows_) return absl::AbortedError("context lost");
    if (capture_ == nullptr || kv.layer >= exact_layers_) return absl::OkStatus();
    return capture_->OnLayer(kv, row_);
  }

 private:
  ContextSource& source_;
  CaptureSink* const capture_;
  const int64_t row_;
  const int64_t context_rows_;
  const int64_t exact_layers_;
};

}  // namespace

PrefillSteps::PrefillSteps(const Model& model, KvSlab& slab, const PrefillRequest& request, absl::Time began)
    : model_(model),
      slab_(slab),
      request_(request),
      nothing_(std::make_unique<ResidentSource>(0)),
      source_(request.source != nullptr ? *request.source : *nothing_),
      rope_(model.RopeFor(std::max(request.reach, static_cast<int64_t>(request.tokens.size())))),
      began_(began),
      repair_row_(source_.own_tokens()) {}

PrefillSteps::~PrefillSteps() = default;

absl::StatusOr<std::unique_ptr<PrefillSteps>> PrefillSteps::Start(const Model& model, KvSlab& slab,
                                                                  const PrefillRequest& request, absl::Time began) {
  return WithoutExceptions("prefill", [&]() -> absl::StatusOr<std::unique_ptr<PrefillSteps>> {
    std::unique_ptr<PrefillSteps> steps(new PrefillSteps(model, slab, request, began));
    RETURN_IF_ERROR(steps->Check());
    return steps;
  });
}

int64_t PrefillSteps::context_rows() const {
  return request_.plan.is_full() ? source_.own_tokens() : source_.tokens();
}

std::vector<Row> PrefillSteps::Rows(int64_t begin, int64_t end) const {
  return MakeRows(request_.tokens.subspan(begin, end - begin), begin, request_.run.first, *rope_, 0, request_.adapter);
}

absl::Status PrefillSteps::Check() const {
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

absl::StatusOr<bool> PrefillSteps::Step(int64_t rows) {
  return WithoutExceptions("prefill", [&]() -> absl::StatusOr<bool> {
    if (const LayerRun* const run = NextRepair()) {
      RETURN_IF_ERROR(RepairStep(*run, std::min(rows, kRepairStepTokens)));
      return false;
    }
    return SuffixStep(rows);
  });
}

// The suffix waits in its first forward: afterwards all KV is in place.
bool PrefillSteps::WouldWait() {
  if (const LayerRun* const run = NextRepair()) return run->begin > 0 && !source_.EArrived(run->begin, repair_row_);
  return suffix_row_ == context_ && !source_.KvArrived();
}

const LayerRun* PrefillSteps::NextRepair() {
  if (in_suffix_) return nullptr;
  const std::vector<LayerRun>& runs = request_.plan.runs();
  while (!request_.plan.is_full() && run_ < runs.size()) {
    if (repair_row_ < source_.tokens()) return &runs[run_];
    ++run_;
    repair_row_ = source_.own_tokens();
  }
  source_.EndRepair();
  context_time_ = absl::Now() - began_;
  BeginSuffix();
  return nullptr;
}

absl::StatusOr<int64_t> PrefillSteps::Repair(const LayerRun& run, int64_t rows) {
  ForwardInput input;
  int64_t end = std::min(repair_row_ + rows, source_.tokens());
  if (run.begin > 0) {
    input.e = source_.E(run.begin, repair_row_, rows);
    if (!input.e.defined()) return repair_row_;
    end = repair_row_ + input.e.size(0);
  }
  const std::vector<Row> batch = Rows(repair_row_, end);
  StepHooks hooks(source_, request_.capture, repair_row_, repair_row_, request_.plan.exact_layers());
  input.rows = batch;
  input.first_layer = run.begin;
  input.end_layer = run.end;
  input.kv_only_in_last_layer = true;
  input.hooks = &hooks;
  RETURN_IF_ERROR(Forward(model_, slab_, input).status());
  source_.Poll();
  return end;
}

absl::Status PrefillSteps::RepairStep(const LayerRun& run, int64_t rows) {
  const absl::StatusOr<int64_t> next = Repair(run, rows);
  if (next.ok()) {
    repair_row_ = *next;
  } else if (source_.tokens() >= repair_row_) {
    return next.status();  // not a loss below this step's rows, which alone may end a step early
  }
  return absl::OkStatus();
}

void PrefillSteps::BeginSuffix() {
  in_suffix_ = true;
  context_ = suffix_row_ = context_rows();
  logits_.clear();
}

absl::StatusOr<bool> PrefillSteps::SuffixStep(int64_t rows) {
  // The suffix is exact as long as every row before it is the receiver's own.
  const bool exact = context_ <= source_.own_tokens();
  const int64_t end = std::min(suffix_row_ + rows, length());
  const std::vector<Row> batch = Rows(suffix_row_, end);
  StepHooks hooks(source_, request_.capture, suffix_row_, context_, exact ? model_.config().layers : 0);
  ForwardInput input;
  input.rows = batch;
  input.hooks = &hooks;
  for (int64_t wanted = std::max(suffix_row_, first_wanted()); wanted < end; ++wanted) {
    input.wanted.push_back(wanted - suffix_row_);
  }
  absl::StatusOr<ForwardResult> result = Forward(model_, slab_, input);
  if (!result.ok()) {
    if (context_rows() >= context_) return result.status();
    // A part of the context was lost. Whatever else is lost is lost by now or soon: the next start is the last one.
    source_.PlaceAll();
    BeginSuffix();
    return false;
  }
  if (result->logits.defined()) logits_.push_back(std::move(result->logits));
  suffix_row_ = end;
  return end == length();
}

PrefillResult PrefillSteps::TakeResult() {
  PrefillResult result;
  result.logits = logits_.size() == 1 ? std::move(logits_[0]) : at::cat(logits_);
  logits_.clear();
  result.context_time = context_time_;
  result.total_time = absl::Now() - began_;
  result.context_tokens = context_rows();
  result.own_tokens = std::min(source_.own_tokens(), result.context_tokens);
  result.stats = source_.stats();
  result.fallback = source_.loss();
  return result;
}

}  // namespace droidspeak
