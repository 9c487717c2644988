// SPDX-License-Identifier: Apache-2.0
#include "common/base/end_signals.h"

#include <unistd.h>

#include <cstdlib>

#include "gtest/gtest.h"

namespace droidspeak {
namespace {

using ::testing::ExitedWithCode;

class EndSignalsTest : public ::testing::TestWithParam<int> {
 protected:
  EndSignalsTest() { GTEST_FLAG_SET(death_test_style, "threadsafe"); }
};

TEST_P(EndSignalsTest, EndTheProgramAtOnceWhileItStarts) {
  EXPECT_EXIT(
      {
        const EndSignals signals;
        kill(getpid(), GetParam());
        for (;;) pause();
      },
      ExitedWithCode(128 + GetParam()), "");
}

TEST_P(EndSignalsTest, LetItEndInGoodOrderOnceItServes) {
  const auto start_and_serve = [this] {
    EndSignals signals;
    signals.Started();
    pthread_kill(pthread_self(), GetParam());  // which doesn't take it now
    const std::string name = signals.Wait();
    exit(name == (GetParam() == SIGTERM ? "SIGTERM" : "SIGINT") ? 0 : 1);
  };
  EXPECT_EXIT(start_and_serve(), ExitedWithCode(0), "");
}

TEST_P(EndSignalsTest, EndItAtOnceThatEndsAlready) {
  const auto serve_and_end = [this] {
    EndSignals signals;
    signals.Started();
    pthread_kill(pthread_self(), SIGTERM);
    (void)signals.Wait();
    pthread_kill(pthread_self(), GetParam());
    for (;;) pause();
  };
  EXPECT_EXIT(serve_and_end(), ExitedWithCode(128 + GetParam()), "");
}

INSTANTIATE_TEST_SUITE_P(All, EndSignalsTest, ::testing::Values(SIGTERM, SIGINT));

}  // namespace
}  // namespace droidspeak
