// SPDX-License-Identifier: Apache-2.0
#include "engine/tokenizer/stop.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/files.h"
#include "common/base/json_depth.h"
#include "common/base/status.h"
#include "nlohmann/json.hpp"

namespace droidspeak {
namespace {

using nlohmann::json;

constexpr uint64_t kMaxConfigBytes = 16 << 20;

// `eos_token_id` of one file; null if the file is not there or doesn't say.
absl::StatusOr<json> EosValue(const std::filesystem::path& path) {
  const absl::StatusOr<std::string> text = ReadFile(path, kMaxConfigBytes);
  if (absl::IsNotFound(text.status())) return json();
  RETURN_IF_ERROR(text.status());
  if (NestsTooDeep(*text)) return absl::InvalidArgumentError(absl::StrCat(path.string(), ": nests too deep"));
  const json object = json::parse(*text, /*cb=*/nullptr, /*allow_exceptions=*/false);
  if (!object.is_object()) return absl::InvalidArgumentError(absl::StrCat(path.string(), ": expected a JSON object"));
  return object.value("eos_token_id", json());
}

bool IsId(const json& value) {
  return value.is_number_unsigned() && value.get<uint64_t>() <= std::numeric_limits<int32_t>::max();
}

}  // namespace

absl::StatusOr<std::vector<int32_t>> ReadEosIds(const std::filesystem::path& directory) {
  for (const char* name : {"generation_config.json", "config.json"}) {
    const std::filesystem::path path = directory / name;
    ASSIGN_OR_RETURN(json value, EosValue(path));
    if (value.is_null()) continue;
    if (!value.is_array()) value = json::array({value});
    if (!std::all_of(value.begin(), value.end(), IsId)) {
      return absl::InvalidArgumentError(
          absl::StrCat(path.string(), ": eos_token_id: expected a token id or a list of them, not ", value.dump()));
    }
    return value.get<std::vector<int32_t>>();
  }
  return std::vector<int32_t>();
}

StopMatcher::StopMatcher(std::vector<std::string> stops) : stops_(std::move(stops)) {
  std::erase(stops_, "");
}

std::string StopMatcher::Push(std::string_view piece) {
  if (stopped_) return "";
  held_.append(piece);
  size_t end = std::string::npos;  // where the earliest stop string begins
  for (const std::string& stop : stops_) end = std::min(end, held_.find(stop));
  if (end != std::string::npos) {
    stopped_ = true;
    held_.resize(end);
    return std::exchange(held_, "");
  }
  size_t hold = 0;  // bytes at the end that could begin a stop string
  for (const std::string& stop : stops_) {
    for (size_t size = std::min(stop.size() - 1, held_.size()); size > hold; --size) {
      if (std::string_view(held_).ends_with(std::string_view(stop).substr(0, size))) hold = size;
    }
  }
  std::string shown = held_.substr(0, held_.size() - hold);
  held_.erase(0, shown.size());
  return shown;
}

std::string StopMatcher::Finish() {
  return std::exchange(held_, "");
}

}  // namespace droidspeak
