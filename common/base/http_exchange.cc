// SPDX-License-Identifier: Apache-2.0
#include "common/base/http_exchange.h"

#include <utility>

namespace droidspeak {

std::shared_ptr<HttpReply> HttpExchange::Reply(std::shared_ptr<HttpExchange> exchange) {
  HttpReply* const reply = exchange.get();
  return {reply, [exchange = std::move(exchange)](HttpReply*) { exchange->Abandon(); }};
}

void HttpExchange::Send(HttpResponse response) {
  {
    absl::MutexLock lock(&mutex_);
    if (lost_ || answer_.state != State::kUnanswered) return;
    answer_.state = State::kWhole;
    answer_.response = std::move(response);
  }
  wake_();
}

void HttpExchange::Begin(int status, const std::string& content_type) {
  {
    absl::MutexLock lock(&mutex_);
    if (lost_ || answer_.state != State::kUnanswered) return;
    answer_.state = State::kOpen;
    answer_.response = {.status = status, .content_type = content_type};
  }
  wake_();
}

bool HttpExchange::Write(std::string piece) {
  bool taken = false;
  {
    absl::MutexLock lock(&mutex_);
    if (lost_ || answer_.state != State::kOpen) return false;
    taken = unsent_ + piece.size() <= unsent_limit_;
    lost_ = !taken;
    if (taken) {
      unsent_ += piece.size();
      answer_.piece += piece;
    }
  }
  wake_();
  return taken;
}

void HttpExchange::Finish() {
  {
    absl::MutexLock lock(&mutex_);
    if (lost_ || answer_.state != State::kOpen) return;
    answer_.state = State::kFinished;
  }
  wake_();
}

void HttpExchange::Abandon() {
  {
    absl::MutexLock lock(&mutex_);
    if (lost_) return;
    if (answer_.state == State::kUnanswered) {
      answer_.state = State::kDropped;
    } else if (answer_.state == State::kOpen) {
      answer_.state = State::kCut;
    } else {
      return;
    }
  }
  wake_();
}

void HttpExchange::OnHangUp(std::function<void()> hung_up) {
  {
    absl::MutexLock lock(&mutex_);
    if (complete_) return;
    if (!lost_) {
      hung_up_.swap(hung_up);  // what it replaces may hold the reply: destroyed without the lock
      return;
    }
  }
  hung_up();
}

bool HttpExchange::lost() const {
  absl::MutexLock lock(&mutex_);
  return lost_;
}

HttpExchange::Answer HttpExchange::Take() {
  absl::MutexLock lock(&mutex_);
  const State state = answer_.state;
  Answer taken = std::exchange(answer_, {});
  answer_.state = state;
  return taken;
}

void HttpExchange::Sent(size_t bytes) {
  absl::MutexLock lock(&mutex_);
  unsent_ -= bytes;
}

void HttpExchange::Complete() {
  std::function<void()> hung_up;  // may hold the reply: destroyed without the lock
  absl::MutexLock lock(&mutex_);
  complete_ = true;
  hung_up.swap(hung_up_);
}

void HttpExchange::Lose() {
  std::function<void()> hung_up;
  {
    absl::MutexLock lock(&mutex_);
    lost_ = true;
    answer_ = {};
    hung_up.swap(hung_up_);
  }
  if (hung_up) hung_up();
}

}  // namespace droidspeak
