// SPDX-License-Identifier: Apache-2.0
// Quality of an answer, 0 to 1.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace droidspeak {

// LongBench's qa_f1_score: F1 of the multisets of words, the best over `answers`; words after lower-casing, dropping
// ASCII punctuation and the articles a, an, the, and splitting at white space. (Bai et al. 2023, LongBench,
// metrics.py.)
double F1(std::string_view prediction, const std::vector<std::string>& answers);

// Exact match of numbers, as for GSM8K: 1 if the last number in `prediction` equals the last number of one of `answers`
// (thousands separators and trailing zeros of decimals don't matter), else 0.
double ExactNumberMatch(std::string_view prediction, const std::vector<std::string>& answers);

// The words that F1 compares, joined by single blanks.
std::string NormalizeAnswer(std::string_view text);

}  // namespace droidspeak
