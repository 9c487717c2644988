// SPDX-License-Identifier: Apache-2.0
#include "common/base/bytes.h"

#include <array>
#include <cmath>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/base/text.h"

namespace droidspeak {
namespace {

struct Unit {
  const char* name;
  double bytes;
};

constexpr double kKibi = 1024;
constexpr std::array<Unit, 10> kUnits = {{{"", 1},
                                          {"B", 1},
                                          {"KiB", kKibi},
                                          {"MiB", kKibi* kKibi},
                                          {"GiB", kKibi* kKibi* kKibi},
                                          {"TiB", kKibi* kKibi* kKibi* kKibi},
                                          {"kB", 1e3},
                                          {"MB", 1e6},
                                          {"GB", 1e9},
                                          {"TB", 1e12}}};

// 2^53: up to there a double holds whole bytes.
constexpr double kMost = 9007199254740992.0;

}  // namespace

absl::StatusOr<uint64_t> ParseBytes(std::string_view text) {
  const absl::string_view whole = ToAbsl(text);
  const auto refuse = [whole] {
    return absl::InvalidArgumentError(
        absl::StrCat("'", whole, "' is no size, expected a number and B, KiB, MiB, GiB or TiB, such as 4GiB"));
  };
  const size_t digits = text.find_first_not_of("0123456789.");
  const absl::string_view number = whole.substr(0, digits);
  const absl::string_view unit =
      digits == std::string_view::npos ? "" : absl::StripLeadingAsciiWhitespace(whole.substr(digits));
  double value = 0;
  if (number.empty() || !absl::SimpleAtod(number, &value)) return refuse();
  for (const Unit& candidate : kUnits) {
    if (!absl::EqualsIgnoreCase(unit, candidate.name)) continue;
    const double bytes = value * candidate.bytes;
    if (bytes > kMost) return refuse();
    if (bytes != std::floor(bytes)) {
      return absl::InvalidArgumentError(absl::StrCat("'", whole, "' is not a whole number of bytes"));
    }
    return static_cast<uint64_t>(bytes);
  }
  return refuse();
}

std::string FormatBytes(uint64_t bytes) {
  if (bytes < 1024) return absl::StrCat(bytes, " B");
  auto value = static_cast<double>(bytes) / kKibi;
  for (const char* unit : {"KiB", "MiB", "GiB"}) {
    if (value < kKibi) return absl::StrFormat("%.1f %s", value, unit);
    value /= kKibi;
  }
  return absl::StrFormat("%.1f TiB", value);
}

}  // namespace droidspeak
