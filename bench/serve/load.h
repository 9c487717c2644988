// SPDX-License-Identifier: Apache-2.0
// Clients of the OpenAI API that measure: prompts of token ids, streamed answers of a given length.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace droidspeak::bench {

struct ServeLoad {
  int64_t prompts = 16;
  int64_t prompt_tokens = 1024;
  int64_t answer_tokens = 32;
  int64_t vocabulary = 1000;    // ids are drawn below it
  double request_rate = 0;      // a second; 0: all at once
  double burstiness = 1;        // shape of the gamma distribution of the times between; 1: Poisson
  int64_t max_concurrency = 0;  // requests at a time; 0: 4,096
  uint64_t seed = 1;            // of the prompts and their times: the same again are the same
};

// What `vllm bench serve` calls them, in milliseconds; counted from the request's sending.
struct RequestTimes {
  double ttft_ms = 0;          // to the first piece of the answer
  double tpot_ms = 0;          // from there to the end, by the tokens after the first
  double e2el_ms = 0;          // to the end
  std::vector<double> itl_ms;  // between pieces
  int64_t tokens = 0;          // of the answer
  int64_t cached_tokens = 0;   // of the prompt, as its usage says
};

struct ServeTimes {
  std::vector<RequestTimes> requests;
  double seconds = 0;  // from the first request's sending to the last answer's end
};

// Sends all of the load to the engine at `address` (HOST:PORT) and waits for the answers, in /v1/completions, greedy,
// with ignore_eos. An answer that is not complete, or not as long as asked for, is an error.
[[nodiscard]] absl::StatusOr<ServeTimes> RunServeLoad(const std::string& address, const std::string& model,
                                                      const ServeLoad& load);

// The name that the engine serves first.
[[nodiscard]] absl::StatusOr<std::string> ServedName(const std::string& address);

}  // namespace droidspeak::bench
