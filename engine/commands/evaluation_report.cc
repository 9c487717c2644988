// SPDX-License-Identifier: Apache-2.0
#include "engine/commands/evaluation_report.h"

#include <cmath>
#include <functional>
#include <utility>

#include "absl/strings/str_format.h"
#include "common/base/bytes.h"
#include "common/base/status.h"
#include "engine/dataset/bootstrap.h"
#include "nlohmann/json.hpp"

namespace droidspeak {
namespace {

using Json = nlohmann::ordered_json;
using Results = std::vector<QuestionResult>;

template <typename Value>
std::vector<double> Column(const Results& results, Value&& value) {
  std::vector<double> column;
  column.reserve(results.size());
  for (const QuestionResult& result : results) column.push_back(static_cast<double>(value(result)));
  return column;
}

Json Milliseconds(const std::vector<double>& values) {
  const Percentiles percentiles = P50P95(values);
  return {{"p50", percentiles.p50}, {"p95", percentiles.p95}};
}

Json Bytes(const SourceStats& stats) {
  return {{"kv", stats.kv_bytes}, {"e", stats.e_bytes}};
}

SourceStats Total(const Results& results) {
  SourceStats total;
  for (const QuestionResult& result : results) {
    const SourceStats& stats = result.plan.first.stats;
    total.kv_bytes += stats.kv_bytes;
    total.e_bytes += stats.e_bytes;
    for (size_t tier = 0; tier < total.tier_extents.size(); ++tier) {
      total.tier_extents[tier] += stats.tier_extents[tier];
    }
  }
  return total;
}

double Ratio(double of, double to) {
  return to > 0 ? of / to : 0;
}

// Median full TTFT against median ideal TTFT of the same questions; 1 when nothing is reused.
double IdealSpeedup(const Plan& plan, const Results& results) {
  if (plan.is_full()) return 1;
  std::vector<double> full, ideal;
  for (const QuestionResult& result : results) {
    if (result.ideal_ms <= 0) continue;
    full.push_back(result.full.first.ttft_ms);
    ideal.push_back(result.ideal_ms);
  }
  return Ratio(Quantile(full, 0.5), Quantile(ideal, 0.5));
}

double Sum(const std::vector<double>& values) {
  return Mean(values) * static_cast<double>(values.size());
}

}  // namespace

absl::StatusOr<Json> EvaluationJson(const Plan& plan, const Results& results, uint64_t seed) {
  const std::vector<double> f1 = Column(results, [](const auto& r) { return r.plan.f1; });
  const std::vector<double> ttft = Column(results, [](const auto& r) { return r.plan.first.ttft_ms; });
  const std::vector<double> full_ttft = Column(results, [](const auto& r) { return r.full.first.ttft_ms; });
  const std::vector<double> used = Column(results, [](const auto& r) { return r.plan.first.context_tokens; });
  const std::vector<double> offered = Column(results, [](const auto& r) { return r.offered; });
  const auto fell_back = [&plan](const auto& r) { return !plan.is_full() && r.plan.first.context_tokens < r.offered; };
  ASSIGN_OR_RETURN(const Interval interval, BootstrapMean(f1, seed));
  const SourceStats total = Total(results);
  Json report;
  report["samples"] = results.size();
  report["f1"] = Mean(f1);
  report["f1_ci95"] = {interval.low, interval.high};
  report["full_f1"] = Mean(Column(results, [](const auto& r) { return r.full.f1; }));
  report["plan"] = plan.text();
  report["recomputed_layers"] = plan.recomputed_layers();
  report["layers"] = plan.layers();
  report["context_tokens"] = std::llround(Mean(used));
  report["prefill_ms"] = Milliseconds(Column(results, [](const auto& r) { return r.plan.first.prefill_ms; }));
  report["ttft_ms"] = Milliseconds(ttft);
  report["full_ttft_ms"] = Milliseconds(full_ttft);
  report["speedup"] = Ratio(Quantile(full_ttft, 0.5), Quantile(ttft, 0.5));
  report["ideal_speedup"] = IdealSpeedup(plan, results);
  report["bytes"] = Bytes(total);
  report["tiers"] = {
      {"gpu", total.tier_extents[0]}, {"host", total.tier_extents[1]}, {"rocksdb", total.tier_extents[2]}};
  report["hit_rate"] = Ratio(Sum(used), Sum(offered));
  report["fallbacks"] = std::llround(Sum(Column(results, fell_back)));
  return report;
}

std::string EvaluationTable(const Json& report) {
  const auto number = [&report](const char* field) { return report[field].get<double>(); };
  const auto times = [&report](const char* field) {
    return absl::StrFormat("p50 %.1f ms, p95 %.1f ms", report[field]["p50"].get<double>(),
                           report[field]["p95"].get<double>());
  };
  const auto bytes = [&report](const char* kind) { return FormatBytes(report["bytes"][kind].get<uint64_t>()); };
  const auto extents = [&report](const char* tier) { return report["tiers"][tier].get<int64_t>(); };
  const std::vector<std::pair<std::string, std::string>> rows = {
      {"plan", absl::StrFormat("%s: %d of %d layers recomputed", report["plan"].get<std::string>(),
                               report["recomputed_layers"].get<int64_t>(), report["layers"].get<int64_t>())},
      {"questions", absl::StrFormat("%d", report["samples"].get<int64_t>())},
      {"F1",
       absl::StrFormat("%.3f (95 %%: %.3f to %.3f); full prefill %.3f", number("f1"),
                       report["f1_ci95"][0].get<double>(), report["f1_ci95"][1].get<double>(), number("full_f1"))},
      {"context", absl::StrFormat("%d tokens reused in the mean, hit rate %.3f, %d fallbacks",
                                  report["context_tokens"].get<int64_t>(), number("hit_rate"),
                                  report["fallbacks"].get<int64_t>())},
      {"prefill", times("prefill_ms")},
      {"TTFT", times("ttft_ms")},
      {"full TTFT", times("full_ttft_ms")},
      {"speed-up", absl::StrFormat("%.2fx, ideal %.2fx", number("speedup"), number("ideal_speedup"))},
      {"fetched", absl::StrFormat("KV %s, E %s; extents from GPU %d, host %d, RocksDB %d", bytes("kv"), bytes("e"),
                                  extents("gpu"), extents("host"), extents("rocksdb"))}};
  std::string table;
  for (const auto& [name, value] : rows) table += absl::StrFormat("%-10s %s\n", name, value);
  return table;
}

std::string PredictionLines(const Plan& plan, const std::vector<Question>& questions, const Results& results) {
  std::string lines;
  for (size_t i = 0; i < results.size(); ++i) {
    const Answered& answered = results[i].plan;
    Json line;
    line["_id"] = questions[i].sample.id;
    line["prediction"] = answered.text;
    line["answers"] = questions[i].sample.answers;
    line["f1"] = answered.f1;
    line["plan"] = plan.text();
    line["context_tokens"] = answered.first.context_tokens;
    line["ttft_ms"] = answered.first.ttft_ms;
    line["bytes"] = Bytes(answered.first.stats);
    lines += line.dump(-1, ' ', /*ensure_ascii=*/false, Json::error_handler_t::replace) + "\n";
  }
  return lines;
}

}  // namespace droidspeak
