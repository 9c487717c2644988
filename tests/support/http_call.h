// SPDX-License-Identifier: Apache-2.0
// A blocking HTTP client for tests and benchmarks: whole answers, or a stream's events one by one.
#pragma once

#include <map>
#include <optional>
#include <string>

#include "absl/time/time.h"

namespace droidspeak {

// What a test waits for comes within this time. Generous: sanitizers on a busy machine.
inline constexpr absl::Duration kPatience = absl::Seconds(60);

struct HttpQuestion {
  std::string path;
  std::string method = "GET";
  std::string body;  // of a POST
  std::map<std::string, std::string> headers;
  absl::Duration patience = kPatience;  // for each piece of the answer
};

struct HttpAnswer {
  int status = 0;                              // 0: none came
  std::map<std::string, std::string> headers;  // their names in lower case
  std::string body;
};

// One request on a connection of its own. What is not read stays with the server. For one thread.
class HttpCall {
 public:
  // Connects to HOST:PORT (IPv4) and sends.
  HttpCall(const std::string& address, const HttpQuestion& question);
  // Hangs up.
  ~HttpCall();
  HttpCall(const HttpCall&) = delete;
  HttpCall& operator=(const HttpCall&) = delete;

  // False: the connection was refused, and there is no answer.
  [[nodiscard]] bool connected() const { return fd_ >= 0; }

  // The answer with what is left of its body.
  HttpAnswer Whole();
  // What follows "data: " in the next event; nothing when no more comes.
  std::optional<std::string> NextEvent();
  // Of the head, which it waits for.
  int status();
  // The body has been read to its end as HTTP tells it: its length, or the last chunk.
  [[nodiscard]] bool complete() const { return complete_; }

 private:
  // Each returns false when nothing more comes.
  bool ReadSome();
  bool ReadBody();
  bool ReadChunk();
  void ReadHead();

  const int fd_;
  const absl::Duration patience_;
  std::string received_;  // and not understood yet
  bool head_read_ = false;
  int status_ = 0;
  std::map<std::string, std::string> headers_;
  std::string body_;  // read, and not handed out yet
  bool ended_ = false;
  bool complete_ = false;
};

}  // namespace droidspeak
