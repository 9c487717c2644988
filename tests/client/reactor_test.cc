// SPDX-License-Identifier: Apache-2.0
// Who drives: the caller that waits, one of several, or the thread.
#include "client/src/reactor.h"

#include <gmock/gmock.h>

#include <atomic>
#include <thread>

#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"

namespace droidspeak {
namespace {

constexpr absl::Duration kLimit = absl::Seconds(60);

// Something that posted functions count and callers wait for.
struct Counter {
  absl::Mutex mutex;
  int count ABSL_GUARDED_BY(mutex) = 0;

  void Add() {
    absl::MutexLock lock(&mutex);
    ++count;
  }
  bool AwaitAtLeast(Reactor& reactor, int least, absl::Duration limit) {
    absl::MutexLock lock(&mutex);
    const auto reached = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) { return count >= least; };
    return reactor.Await(mutex, absl::Condition(&reached), absl::Now() + limit);
  }
};

class ReactorTest : public testing::Test {
 protected:
  void SetUp() override {
    absl::StatusOr<std::unique_ptr<Reactor>> reactor = Reactor::Create({"local", "tcp"});
    ASSERT_TRUE(reactor.ok()) << reactor.status();
    reactor_ = *std::move(reactor);
  }
  std::unique_ptr<Reactor> reactor_;
  Counter counter_;
};

TEST_F(ReactorTest, RunsWhatIsPostedInOrderWithoutAnybodyWaiting) {
  std::vector<int> order;
  absl::Notification done;
  for (int i = 0; i < 100; ++i) reactor_->Post([&order, i] { order.push_back(i); });
  reactor_->Post([&] { done.Notify(); });
  ASSERT_TRUE(done.WaitForNotificationWithTimeout(kLimit));
  EXPECT_EQ(order.size(), 100);
  EXPECT_TRUE(std::is_sorted(order.begin(), order.end()));
}

TEST_F(ReactorTest, WhatATurnPostsRunsOnItsThreadAtItsEnd) {
  for (int i = 0; i < 1000; ++i) {
    // Until the thread, which drives at first, has fallen asleep.
    EXPECT_FALSE(counter_.AwaitAtLeast(*reactor_, 1, absl::Milliseconds(5)));
    std::thread::id ran_on;
    bool ran_inside = false;
    absl::Notification ran;
    {
      const Reactor::Turn turn(*reactor_);
      reactor_->Post([&] {
        ran_on = std::this_thread::get_id();
        ran.Notify();
      });
      ran_inside = ran.HasBeenNotified();
    }
    ASSERT_TRUE(ran.WaitForNotificationWithTimeout(kLimit));
    if (ran_on != std::this_thread::get_id()) continue;
    EXPECT_FALSE(ran_inside);
    return;
  }
  FAIL() << "no turn of 1000 was taken";
}

TEST_F(ReactorTest, AWaiterRunsWhatOthersPost) {
  for (int i = 1; i <= 2000; ++i) {
    std::jthread poster([this] { reactor_->Post([this] { counter_.Add(); }); });
    ASSERT_TRUE(counter_.AwaitAtLeast(*reactor_, i, kLimit));
  }
}

TEST_F(ReactorTest, WaitingEndsAtTheDeadline) {
  const absl::Time start = absl::Now();
  EXPECT_FALSE(counter_.AwaitAtLeast(*reactor_, 1, absl::Milliseconds(50)));
  EXPECT_GE(absl::Now() - start, absl::Milliseconds(50));
  EXPECT_FALSE(counter_.AwaitAtLeast(*reactor_, 1, absl::ZeroDuration()));
}

TEST_F(ReactorTest, ManyWaitersAndPostersMissNothing) {
  constexpr int kThreads = 6;
  constexpr int kEach = 3000;
  std::atomic<int> late{0};
  std::vector<std::jthread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([this, &late, t] {
      Counter own;
      for (int i = 1; i <= kEach; ++i) {
        if ((i + t) % 3 == 0) {
          const Reactor::Turn turn(*reactor_);
          reactor_->Post([&own] { own.Add(); });
        } else {
          reactor_->Post([&own] { own.Add(); });
        }
        if ((i + t) % 7 == 0) reactor_->RunAndWait([this] { counter_.Add(); });
        if (!own.AwaitAtLeast(*reactor_, i, kLimit)) ++late;
      }
    });
  }
  threads.clear();
  EXPECT_EQ(late, 0);
}

TEST_F(ReactorTest, TheThreadTakesOverWhatACallerLeft) {
  for (int i = 0; i < 200; ++i) {
    EXPECT_FALSE(counter_.AwaitAtLeast(*reactor_, 1, absl::Microseconds(100)));
    absl::Notification ran;
    reactor_->Post([&] { ran.Notify(); });
    ASSERT_TRUE(ran.WaitForNotificationWithTimeout(kLimit));
  }
}

TEST_F(ReactorTest, EndsRightAfterATurn) {
  for (int i = 0; i < 50; ++i) {
    bool ran = false;
    {
      const Reactor::Turn turn(*reactor_);
      reactor_->Post([&] { ran = true; });
    }
    reactor_.reset();
    EXPECT_TRUE(ran);
    SetUp();
  }
}

}  // namespace
}  // namespace droidspeak
