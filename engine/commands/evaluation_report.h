// SPDX-License-Identifier: Apache-2.0
// What `evaluate` prints: one JSON object (the fields are a contract, docs/evaluation.md) or the same as a table.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/commands/evaluation.h"
#include "nlohmann/json_fwd.hpp"

namespace droidspeak {

// `results` as Evaluation::Run returns them, at least one; `seed` of the bootstrap intervals.
[[nodiscard]] absl::StatusOr<nlohmann::ordered_json> EvaluationJson(const Plan& plan,
                                                                    const std::vector<QuestionResult>& results,
                                                                    uint64_t seed);

// The object of EvaluationJson for people.
[[nodiscard]] std::string EvaluationTable(const nlohmann::ordered_json& report);

// One JSON object a line for each question.
[[nodiscard]] std::string PredictionLines(const Plan& plan, const std::vector<Question>& questions,
                                          const std::vector<QuestionResult>& results);

}  // namespace droidspeak
