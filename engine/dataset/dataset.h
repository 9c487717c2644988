// SPDX-License-Identifier: Apache-2.0
// Data sets in LongBench's JSONL: one question a line.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace droidspeak {

// One question. `input`, `context` and `answers` are required; the others may be missing. Unknown fields are ignored.
struct Sample {
  std::string id;                    // `_id`, or the line's number
  std::string context;               // the document that a cache covers
  std::string input;                 // the question
  std::vector<std::string> answers;  // at least one; any of them is right
  int64_t length = 0;
  std::string dataset;
  std::string language;
  std::vector<std::string> all_classes;
};

struct DatasetLimits {
  int64_t line_bytes = 64LL << 20;
  int64_t file_bytes = 4LL << 30;
};

// The first `limit` questions of `path` (all if 0); blank lines don't count. InvalidArgument naming file, line and
// field; NotFound if there is no such file; an empty data set is an error.
[[nodiscard]] absl::StatusOr<std::vector<Sample>> ReadDataset(const std::filesystem::path& path, int64_t limit = 0,
                                                              const DatasetLimits& limits = {});

}  // namespace droidspeak
