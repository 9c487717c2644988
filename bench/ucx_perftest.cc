// SPDX-License-Identifier: Apache-2.0
#include "bench/ucx_perftest.h"

#include <algorithm>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "bench/pair_program.h"
#include "common/base/status.h"

namespace droidspeak::bench {
namespace {

// The last line of numbers: "[thread] iterations …, overall bandwidth in MB/s is the sixth".
absl::StatusOr<double> ParseBandwidth(const std::string& output) {
  std::vector<std::string> lines = absl::StrSplit(output, '\n', absl::SkipWhitespace());
  for (auto line = lines.rbegin(); line != lines.rend(); ++line) {
    const std::vector<std::string> fields = absl::StrSplit(*line, ' ', absl::SkipWhitespace());
    double megabytes;
    if (fields.size() == 8 && absl::SimpleAtod(fields[5], &megabytes)) return megabytes * (1 << 20);
  }
  return absl::InternalError(absl::StrCat("ucx_perftest printed no result: ", output));
}

}  // namespace

absl::StatusOr<double> UcxPerftest(const std::string& test, uint64_t message_bytes, uint64_t total_bytes) {
  const uint64_t messages = std::max<uint64_t>(10, total_bytes / message_bytes);
  PairProgram pair{
      "ucx_perftest", {"-p", "PORT"}, {}, {"UCX_TLS=tcp", "UCX_NET_DEVICES=lo"}};  // as the `ucx` transport
  pair.client = {"127.0.0.1", "-p", "PORT", "-t", test, "-s", absl::StrCat(message_bytes), "-n", absl::StrCat(messages),
                 "-w",        "10", "-f"};
  ASSIGN_OR_RETURN(const std::string output, OutputOf(pair));
  return ParseBandwidth(output);
}

}  // namespace droidspeak::bench
