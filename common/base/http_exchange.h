// SPDX-License-Identifier: Apache-2.0
// The answer to one HTTP request on its way from a handler, on any thread, to the connection that sends it.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "common/base/http_server.h"

namespace droidspeak {

// Shared by the HttpReply that a handler holds and by the connection, either of which may be gone first. Thread-safe;
// nothing of the outside is called with the lock held.
class HttpExchange final : public HttpReply {
 public:
  enum class State {
    kUnanswered,
    kWhole,     // Send
    kOpen,      // Begin
    kFinished,  // Begin and Finish
    kDropped,   // the handler's reply is gone before it answered
    kCut        // ... after Begin, without Finish
  };
  // What a handler has given since the last Take().
  struct Answer {
    State state = State::kUnanswered;
    HttpResponse response;  // once: after Send the whole, after Begin without a body
    std::string piece;
  };

  // `wake` is called, on any thread, whenever the connection has something to do: it is to come back on its own thread.
  HttpExchange(size_t unsent_limit, std::function<void()> wake) : unsent_limit_(unsent_limit), wake_(std::move(wake)) {}

  // What a handler gets: an HttpReply whose destruction tells the exchange.
  [[nodiscard]] static std::shared_ptr<HttpReply> Reply(std::shared_ptr<HttpExchange> exchange);

  void Send(HttpResponse response) override;
  void Begin(int status, const std::string& content_type) override;
  bool Write(std::string piece) override;
  void Finish() override;
  void OnHangUp(std::function<void()> hung_up) override;

  // The rest is the connection's.
  bool lost() const;
  Answer Take();
  // `bytes` of pieces have reached the peer.
  void Sent(size_t bytes);
  // The peer has all of the answer.
  void Complete();
  // The peer will get no more of it.
  void Lose();

 private:
  void Abandon();

  const size_t unsent_limit_;
  const std::function<void()> wake_;
  mutable absl::Mutex mutex_;
  Answer answer_ ABSL_GUARDED_BY(mutex_);
  size_t unsent_ ABSL_GUARDED_BY(mutex_) = 0;
  bool lost_ ABSL_GUARDED_BY(mutex_) = false;
  bool complete_ ABSL_GUARDED_BY(mutex_) = false;
  std::function<void()> hung_up_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace droidspeak
