// SPDX-License-Identifier: Apache-2.0
#include "engine/dataset/f1.h"

#include <algorithm>
#include <map>
#include <optional>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_join.h"
#include "engine/tokenizer/unicode.h"

namespace droidspeak {
namespace {

bool IsArticle(std::string_view word) {
  return word == "a" || word == "an" || word == "the";
}

// `text` with each article replaced by a blank. An article stands between characters that belong to no word, which in
// Python's regular expressions (\b) are more than blanks: quotation marks and dashes beyond ASCII, for instance.
std::string WithoutArticles(std::string_view text) {
  std::string result;
  while (!text.empty()) {
    std::string_view rest = text;
    size_t word_bytes = 0;
    while (!rest.empty() && IsWordCharacter(PopCharacter(rest))) word_bytes = text.size() - rest.size();
    if (word_bytes == 0) {
      rest = text;
      PopCharacter(rest);
      result.append(text, 0, text.size() - rest.size());
      text = rest;
      continue;
    }
    const std::string_view word = text.substr(0, word_bytes);
    result.append(IsArticle(word) ? " " : word);
    text.remove_prefix(word_bytes);
  }
  return result;
}

std::vector<std::string> SplitAtSpace(std::string_view text) {
  std::vector<std::string> words;
  bool in_word = false;
  while (!text.empty()) {
    const std::string_view before = text;
    const bool space = IsSpace(PopCharacter(text));
    if (!space && !in_word) words.emplace_back();
    if (!space) words.back().append(before, 0, before.size() - text.size());
    in_word = !space;
  }
  return words;
}

std::vector<std::string> Words(std::string_view text) {
  std::string lower = Lowercase(text);
  std::erase_if(lower, [](unsigned char c) { return absl::ascii_ispunct(c); });
  return SplitAtSpace(WithoutArticles(lower));
}

double WordF1(const std::vector<std::string>& prediction, const std::vector<std::string>& answer) {
  std::map<std::string, int64_t> left;
  for (const std::string& word : answer) ++left[word];
  const int64_t common = std::count_if(prediction.begin(), prediction.end(), [&](const std::string& word) {
    const auto found = left.find(word);
    return found != left.end() && found->second-- > 0;
  });
  if (common == 0) return 0;
  return 2.0 * static_cast<double>(common) / static_cast<double>(prediction.size() + answer.size());
}

// The last number of `text` in one spelling: no separators, no zeros that don't count, no plus sign.
std::optional<std::string> LastNumber(std::string_view text) {
  const size_t last = text.find_last_of("0123456789");
  if (last == std::string_view::npos) return std::nullopt;
  size_t first = last;
  while (first > 0 && (absl::ascii_isdigit(text[first - 1]) || ((text[first - 1] == ',' || text[first - 1] == '.') &&
                                                                first > 1 && absl::ascii_isdigit(text[first - 2])))) {
    --first;
  }
  std::string number(text.substr(first, last + 1 - first));
  std::erase(number, ',');
  // "3.14.15" is no decimal; its last number is 15.
  if (std::count(number.begin(), number.end(), '.') > 1) number.erase(0, number.rfind('.') + 1);
  if (number.find('.') != std::string::npos) {
    number.erase(number.find_last_not_of('0') + 1);
    if (number.ends_with('.')) number.pop_back();
  }
  number.erase(0, std::min(number.find_first_not_of('0'), number.size()));
  if (number.empty() || number.front() == '.') number.insert(0, "0");
  const bool negative = first > 0 && text[first - 1] == '-' && (first == 1 || !absl::ascii_isalnum(text[first - 2]));
  if (negative && number != "0") number.insert(0, "-");
  return number;
}

}  // namespace

std::string NormalizeAnswer(std::string_view text) {
  return absl::StrJoin(Words(text), " ");
}

double F1(std::string_view prediction, const std::vector<std::string>& answers) {
  const std::vector<std::string> words = Words(prediction);
  double best = 0;
  for (const std::string& answer : answers) best = std::max(best, WordF1(words, Words(answer)));
  return best;
}

double ExactNumberMatch(std::string_view prediction, const std::vector<std::string>& answers) {
  const std::optional<std::string> number = LastNumber(prediction);
  const bool match = number.has_value() && std::any_of(answers.begin(), answers.end(), [&](const std::string& answer) {
                       return LastNumber(answer) == number;
                     });
  return match ? 1 : 0;
}

}  // namespace droidspeak
