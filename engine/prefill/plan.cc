// SPDX-License-Identifier: Apache-2.0
#include "engine/prefill/plan.h"

#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/status.h"

namespace droidspeak {
namespace {

absl::Status BadPlan(std::string_view text, const std::string& why) {
  return absl::InvalidArgumentError(absl::StrCat("plan \"", ToAbsl(text), "\": ", why));
}

absl::StatusOr<int64_t> ParseLayer(absl::string_view part, std::string_view text, std::string_view form) {
  int64_t value = 0;
  const bool digits = !part.empty() && part.find_first_not_of("0123456789") == absl::string_view::npos;
  if (!digits || !absl::SimpleAtoi(part, &value)) {
    return BadPlan(text, absl::StrCat("\"", part, "\" is no layer number; expected ", ToAbsl(form)));
  }
  return value;
}

}  // namespace

Plan::Plan(std::string text, int64_t layers, std::vector<LayerRun> runs)
    : text_(std::move(text)), layers_(layers), runs_(std::move(runs)) {}

absl::StatusOr<Plan> Plan::ParseTriple(std::string_view text, int64_t layers) {
  static constexpr std::string_view kForm = "three layer numbers a,b,c";
  const std::vector<absl::string_view> parts = absl::StrSplit(ToAbsl(text), ',');
  if (parts.size() != 3) return BadPlan(text, absl::StrCat("expected ", ToAbsl(kForm)));
  ASSIGN_OR_RETURN(const int64_t a, ParseLayer(parts[0], text, kForm));
  ASSIGN_OR_RETURN(const int64_t b, ParseLayer(parts[1], text, kForm));
  ASSIGN_OR_RETURN(const int64_t c, ParseLayer(parts[2], text, kForm));
  if (a > b || b > c) return BadPlan(text, "out of order; expected a <= b <= c");
  if (c > layers) return BadPlan(text, absl::StrCat("layer ", c, " is beyond the model's ", layers, " layers"));
  // Canonical: a = b leaves no reused layer between the runs, so that there is one run and no transition.
  if (a == b) return Plan(std::string(text), layers, c > 0 ? std::vector<LayerRun>{{0, c}} : std::vector<LayerRun>{});
  std::vector<LayerRun> runs;
  if (a > 0) runs.push_back({0, a});
  if (b < c) runs.push_back({b, c});
  return Plan(std::string(text), layers, std::move(runs));
}

absl::StatusOr<Plan> Plan::ParseRuns(std::string_view text, int64_t layers) {
  static constexpr std::string_view kForm = "runs of layers like 4-8,12-13";
  std::vector<LayerRun> runs;
  for (absl::string_view part : absl::StrSplit(ToAbsl(text), ',')) {
    const std::vector<absl::string_view> ends = absl::StrSplit(part, '-');
    if (ends.size() != 2) return BadPlan(text, absl::StrCat("\"", part, "\": expected ", ToAbsl(kForm)));
    ASSIGN_OR_RETURN(const int64_t begin, ParseLayer(ends[0], text, kForm));
    ASSIGN_OR_RETURN(const int64_t end, ParseLayer(ends[1], text, kForm));
    if (begin >= end) return BadPlan(text, absl::StrCat("run ", part, " is empty; expected begin < end"));
    if (end > layers) {
      return BadPlan(text, absl::StrCat("run ", part, " ends beyond the model's ", layers, " layers"));
    }
    if (!runs.empty() && begin < runs.back().end) {
      return BadPlan(text,
                     absl::StrCat("run ", part, " overlaps or precedes the run before it; expected ascending runs"));
    }
    runs.push_back({begin, end});
  }
  return Plan(std::string(text), layers, std::move(runs));
}

Plan Plan::Full(int64_t layers) {
  return Plan("full", layers, {{0, layers}});
}

Plan Plan::ReuseAll(int64_t layers, std::string text) {
  return Plan(std::move(text), layers, {});
}

int64_t Plan::recomputed_layers() const {
  int64_t count = 0;
  for (const LayerRun& run : runs_) count += run.end - run.begin;
  return count;
}

bool Plan::recomputes(int64_t layer) const {
  for (const LayerRun& run : runs_) {
    if (layer >= run.begin && layer < run.end) return true;
  }
  return false;
}

int64_t Plan::exact_layers() const {
  return runs_.empty() || runs_[0].begin > 0 ? 0 : runs_[0].end;
}

std::vector<int64_t> Plan::e_layers() const {
  std::vector<int64_t> layers;
  for (const LayerRun& run : runs_) {
    if (run.begin > 0) layers.push_back(run.begin);
  }
  return layers;
}

std::vector<int64_t> Plan::kv_layers() const {
  std::vector<int64_t> layers;
  for (int64_t layer = 0; layer < layers_; ++layer) {
    if (!recomputes(layer)) layers.push_back(layer);
  }
  return layers;
}

}  // namespace droidspeak
