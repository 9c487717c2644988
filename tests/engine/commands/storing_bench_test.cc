// SPDX-License-Identifier: Apache-2.0
// What `droidspeak-bench storing` measures: answers of one engine, stored and not, with a real cache server.
#include <memory>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "bench/storing/load.h"
#include "tests/engine/commands/serve_fixture.h"

namespace droidspeak {
namespace {

using bench::StoringLoad;
using bench::StoringShape;

// Three blocks of it are full.
StoringShape Shape(const std::string& model) {
  return {.model = model, .dtype = "fp32", .keep_e = "1", .prompt_tokens = 50, .answer_tokens = 4, .block_tokens = 16};
}

std::unique_ptr<Client> ConnectTo(const ServerProcess& server) {
  ClientOptions options;
  options.servers = {{"cache-0", server.listen()}};
  return Client::Connect(options).value();
}

TEST_F(ServeTest, TheStoringLoadStoresWhatItSaysAndNothingElse) {
  const std::unique_ptr<ServerProcess> server = ServerProcess::Start("cache-0").value();
  const auto stored_bytes = [&] {
    const HttpAnswer metrics = HttpCall(server->admin(), {.path = "/metrics"}).Whole();
    double sum = 0;
    for (const absl::string_view line : absl::StrSplit(metrics.body, '\n')) {
      if (!absl::StartsWith(line, "droidspeak_store_bytes_total")) continue;
      double value = 0;
      EXPECT_TRUE(absl::SimpleAtod(line.substr(line.rfind(' ') + 1), &value)) << line;
      sum += value;
    }
    return static_cast<int64_t>(sum);
  };
  const StoringShape shape = Shape(Path("base"));
  const int64_t each = bench::StoredBytes(shape).value();
  const auto load = StoringLoad::Start(shape, ConnectTo(*server));
  ASSERT_TRUE(load.ok()) << load.status();
  int64_t stored = 0;
  for (const bool stores : {true, false, false, true}) {
    const auto times = (*load)->Answer(stores);
    ASSERT_TRUE(times.ok()) << times.status();
    EXPECT_GT(times->ttft_ms, 0);
    EXPECT_GT(times->tpot_ms, 0);
    if (stores) stored += each;
    EXPECT_EQ(stored_bytes(), stored);
  }
}

TEST_F(ServeTest, TheStoringLoadSaysThatNotAllWasStored) {
  std::unique_ptr<ServerProcess> server = ServerProcess::Start("cache-0").value();
  const auto load = StoringLoad::Start(Shape(Path("base")), ConnectTo(*server));
  ASSERT_TRUE(load.ok()) << load.status();
  server.reset();
  EXPECT_TRUE(absl::IsDataLoss((*load)->Answer(true).status()));
  EXPECT_TRUE((*load)->Answer(false).ok());
}

}  // namespace
}  // namespace droidspeak
