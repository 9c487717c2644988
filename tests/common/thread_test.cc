// SPDX-License-Identifier: Apache-2.0
#include "common/base/thread.h"

#include <pthread.h>

#include <atomic>
#include <future>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "common/base/wakeup.h"
#include "gtest/gtest.h"

namespace droidspeak {
namespace {

TEST(Thread, RunsItsBodyUnderItsNameCutToFifteen) {
  std::promise<std::string> name;
  Thread thread("a-name-that-is-too-long", [&name](const std::stop_token&) {
    char text[32] = {};
    pthread_getname_np(pthread_self(), text, sizeof(text));
    name.set_value(text);
  });
  EXPECT_EQ(name.get_future().get(), "a-name-that-is-");
}

TEST(Thread, StopWakesABodyThatSleepsAndWaitsForItsEnd) {
  Wakeup wakeup;
  std::atomic<bool> ended = false;
  Thread thread("sleeper", [&](const std::stop_token& stop) {
    const std::stop_callback wake(stop, [&] { wakeup.Notify(); });
    while (!stop.stop_requested()) wakeup.Wait(absl::InfiniteDuration());
    ended = true;
  });
  thread.Stop();
  EXPECT_TRUE(ended);
  thread.Stop();
}

TEST(Wakeup, NotificationsFallTogetherUntilDrained) {
  const Wakeup wakeup;
  EXPECT_FALSE(wakeup.Drain());
  wakeup.Notify();
  wakeup.Notify();
  EXPECT_TRUE(wakeup.Drain());
  EXPECT_FALSE(wakeup.Drain());
}

TEST(Wakeup, WaitReturnsAtANotificationOrWhenTimeIsUp) {
  const Wakeup wakeup;
  const absl::Time start = absl::Now();
  EXPECT_FALSE(wakeup.Wait(absl::Milliseconds(20)));
  EXPECT_GE(absl::Now() - start, absl::Milliseconds(20));
  wakeup.Notify();
  EXPECT_TRUE(wakeup.Wait(absl::ZeroDuration()));
}

}  // namespace
}  // namespace droidspeak
