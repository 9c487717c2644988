// SPDX-License-Identifier: Apache-2.0
// The load generator of `droidspeak-bench serve` against an engine.
#include <numeric>

#include "bench/serve/load.h"
#include "gmock/gmock.h"
#include "tests/engine/commands/serve_fixture.h"

namespace droidspeak {
namespace {

using bench::RequestTimes;
using bench::ServeLoad;
using ::testing::HasSubstr;
using ::testing::SizeIs;

TEST_F(ServeTest, TheLoadGeneratorMeasuresEveryToken) {
  Serve();
  ASSERT_EQ(bench::ServedName(address()).value(), "base");
  const ServeLoad load{.prompts = 6,
                       .prompt_tokens = 40,
                       .answer_tokens = 8,
                       .vocabulary = 500,
                       .request_rate = 100,
                       .max_concurrency = 3};
  for (const bool again : {false, true}) {
    const auto times = bench::RunServeLoad(address(), "base", load);
    ASSERT_TRUE(times.ok()) << times.status();
    ASSERT_THAT(times->requests, SizeIs(6));
    for (const RequestTimes& request : times->requests) {
      EXPECT_EQ(request.tokens, 8);
      EXPECT_EQ(request.cached_tokens, again ? 39 : 0);  // the same prompts
      EXPECT_THAT(request.itl_ms, SizeIs(7));
      EXPECT_GT(request.ttft_ms, 0);
      const double sum = std::accumulate(request.itl_ms.begin(), request.itl_ms.end(), request.ttft_ms);
      EXPECT_NEAR(request.e2el_ms, sum, 1e-3);
      EXPECT_NEAR(request.tpot_ms, (request.e2el_ms - request.ttft_ms) / 7, 1e-6);
      EXPECT_LE(request.e2el_ms, 1e3 * times->seconds);
    }
  }
}

TEST_F(ServeTest, TheLoadGeneratorSaysWhatAnEngineRefused) {
  Serve();
  const auto unknown = bench::RunServeLoad(address(), "other", {.prompts = 2});
  EXPECT_THAT(std::string(unknown.status().message()), HasSubstr("'other' is not served"));
  engine_.reset();
  EXPECT_FALSE(bench::ServedName("127.0.0.1:9").ok());
}

}  // namespace
}  // namespace droidspeak
