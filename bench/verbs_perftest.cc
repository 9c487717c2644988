// SPDX-License-Identifier: Apache-2.0
#include "bench/verbs_perftest.h"

#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "bench/pair_program.h"
#include "common/base/status.h"
#include "common/transport/verbs/device.h"

namespace droidspeak::bench {
namespace {

// The last line that begins with the size: "#bytes #iterations peak[MB/sec] average[MB/sec] …" of a bandwidth,
// "#bytes #iterations min max typical …" of a latency.
absl::StatusOr<double> Parse(const std::string& output, uint64_t bytes, size_t field) {
  std::vector<std::string> lines = absl::StrSplit(output, '\n', absl::SkipWhitespace());
  for (auto line = lines.rbegin(); line != lines.rend(); ++line) {
    const std::vector<std::string> fields = absl::StrSplit(*line, ' ', absl::SkipWhitespace());
    double value;
    if (fields.size() > field && fields[0] == absl::StrCat(bytes) && absl::SimpleAtod(fields[field], &value))
      return value;
  }
  return absl::InternalError(absl::StrCat("perftest printed no result: ", output));
}

}  // namespace

absl::StatusOr<double> VerbsPerftest(const std::string& test, uint64_t message_bytes, uint64_t messages) {
  ASSIGN_OR_RETURN(const auto device, verbs::Device::Open());
  const std::vector<std::string> name = absl::StrSplit(device->name(), ':');  // DEVICE:PORT:GID_INDEX
  PairProgram pair{test,
                   {"-d", name[0], "-i", name[1], "-F", "-p", "PORT", "-s", absl::StrCat(message_bytes), "-n",
                    absl::StrCat(messages)},
                   {},
                   {}};
  if (device->is_ethernet()) pair.server.insert(pair.server.end(), {"-x", name[2]});
  pair.client = pair.server;
  pair.client.push_back("127.0.0.1");
  ASSIGN_OR_RETURN(const std::string output, OutputOf(pair));
  if (absl::EndsWith(test, "_lat")) return Parse(output, message_bytes, 4);
  ASSIGN_OR_RETURN(const double megabytes, Parse(output, message_bytes, 3));
  return megabytes * (1 << 20);
}

}  // namespace droidspeak::bench
