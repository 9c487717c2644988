// SPDX-License-Identifier: Apache-2.0
#include "engine/dataset/dataset.h"

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <string_view>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "common/base/files.h"
#include "common/base/json_depth.h"
#include "common/base/status.h"
#include "common/base/text.h"
#include "nlohmann/json.hpp"

namespace droidspeak {
namespace {

using nlohmann::json;

absl::Status Expected(std::string_view field, std::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat(ToAbsl(field), ": expected ", ToAbsl(what)));
}

absl::Status ReadString(const json& object, const char* field, bool required, std::string& value) {
  const auto found = object.find(field);
  if (found == object.end() && !required) return absl::OkStatus();
  if (found == object.end() || !found->is_string()) return Expected(field, "a string");
  value = found->get<std::string>();
  return absl::OkStatus();
}

bool IsListOfStrings(const json& value) {
  return value.is_array() && std::all_of(value.begin(), value.end(), [](const json& item) { return item.is_string(); });
}

absl::StatusOr<Sample> ParseSample(std::string_view line) {
  if (NestsTooDeep(line)) return absl::InvalidArgumentError("a JSON object that nests too deep");
  const json object = json::parse(line, /*cb=*/nullptr, /*allow_exceptions=*/false);
  if (object.is_discarded()) return absl::InvalidArgumentError("expected one whole JSON object in UTF-8");
  if (!object.is_object()) return absl::InvalidArgumentError("expected a JSON object");
  Sample sample;
  RETURN_IF_ERROR(ReadString(object, "context", /*required=*/true, sample.context));
  RETURN_IF_ERROR(ReadString(object, "input", /*required=*/true, sample.input));
  RETURN_IF_ERROR(ReadString(object, "_id", /*required=*/false, sample.id));
  RETURN_IF_ERROR(ReadString(object, "dataset", /*required=*/false, sample.dataset));
  RETURN_IF_ERROR(ReadString(object, "language", /*required=*/false, sample.language));
  const json answers = object.value("answers", json());
  if (!IsListOfStrings(answers) || answers.empty()) return Expected("answers", "a list of at least one string");
  sample.answers = answers.get<std::vector<std::string>>();
  const json length = object.value("length", json(0));
  if (!length.is_number_integer()) return Expected("length", "a whole number");
  sample.length = length.get<int64_t>();
  const json classes = object.value("all_classes", json());
  if (!classes.is_null()) {
    if (!IsListOfStrings(classes)) return Expected("all_classes", "null or a list of strings");
    sample.all_classes = classes.get<std::vector<std::string>>();
  }
  return sample;
}

// Like std::getline, but reads no more than `max_bytes` + 1 characters of a line.
bool GetBoundedLine(std::istream& file, int64_t max_bytes, std::string& line) {
  line.clear();
  std::streambuf& buffer = *file.rdbuf();
  int character = buffer.sbumpc();
  if (character == std::char_traits<char>::eof()) return false;
  while (character != std::char_traits<char>::eof() && character != '\n') {
    line.push_back(static_cast<char>(character));
    if (std::cmp_greater(line.size(), max_bytes)) break;
    character = buffer.sbumpc();
  }
  return true;
}

}  // namespace

absl::StatusOr<std::vector<Sample>> ReadDataset(const std::filesystem::path& path, int64_t limit,
                                                const DatasetLimits& limits) {
  std::error_code error;
  const uintmax_t bytes = std::filesystem::file_size(path, error);
  if (error) return ErrnoStatus(error.value(), absl::StrCat("reading ", path.string()));
  if (std::cmp_greater(bytes, limits.file_bytes)) {
    return absl::InvalidArgumentError(
        absl::StrCat(path.string(), ": ", bytes, " bytes, expected at most ", limits.file_bytes));
  }
  std::ifstream file(path, std::ios::binary);
  if (!file) return ErrnoStatus(errno, absl::StrCat("opening ", path.string()));

  std::vector<Sample> samples;
  std::string line;
  for (int64_t number = 1;
       (limit == 0 || std::cmp_less(samples.size(), limit)) && GetBoundedLine(file, limits.line_bytes, line);
       ++number) {
    const std::string where = absl::StrCat(path.string(), ":", number);
    if (std::cmp_greater(line.size(), limits.line_bytes)) {
      return absl::InvalidArgumentError(
          absl::StrCat(where, ": expected a line of at most ", limits.line_bytes, " bytes"));
    }
    if (absl::StripAsciiWhitespace(line).empty()) continue;
    absl::StatusOr<Sample> sample = ParseSample(line);
    if (!sample.ok()) return Annotate(sample.status(), where);
    if (sample->id.empty()) sample->id = absl::StrCat(number);
    samples.push_back(*std::move(sample));
  }
  if (samples.empty())
    return absl::InvalidArgumentError(absl::StrCat(path.string(), ": expected at least one question"));
  return samples;
}

}  // namespace droidspeak
