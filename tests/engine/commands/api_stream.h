// SPDX-License-Identifier: Apache-2.0
// A streamed answer of the API, put together event by event.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "nlohmann/json.hpp"
#include "tests/support/http_call.h"

namespace droidspeak {

// Its destruction hangs up. For one thread.
class ApiStream {
 public:
  // Sends `body`, with "stream": true put in.
  ApiStream(const std::string& address, const std::string& path, nlohmann::json body);

  // Reads one event; false: no more comes.
  bool Next();
  void ReadAll();

  // It ended with [DONE], after which nothing came, and its HTTP is complete.
  [[nodiscard]] bool done() const { return done_; }
  // Of a choice, as far as it was read.
  [[nodiscard]] const std::string& text(int64_t index = 0) { return texts_[index]; }
  [[nodiscard]] const std::string& finish_reason(int64_t index = 0) { return finish_reasons_[index]; }
  // [DONE] is none.
  [[nodiscard]] const std::vector<nlohmann::json>& chunks() const { return chunks_; }
  // With what is left of the body.
  [[nodiscard]] HttpAnswer answer() { return call_.Whole(); }

 private:
  void Take(const nlohmann::json& choice);

  HttpCall call_;
  bool done_ = false;
  std::map<int64_t, std::string> texts_, finish_reasons_;
  std::vector<nlohmann::json> chunks_;
};

}  // namespace droidspeak
