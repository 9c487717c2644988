// SPDX-License-Identifier: Apache-2.0
// Bodies of API requests, and what becomes of them.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/server/api_request.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace droidspeak {

inline constexpr Endpoint kCompletions = Endpoint::kCompletions;
inline constexpr Endpoint kChat = Endpoint::kChat;

// The least body with these fields added to it or put in their place.
inline std::string Body(Endpoint endpoint, const std::string& fields) {
  nlohmann::ordered_json body = {{"model", "m"}};
  if (endpoint == kChat) {
    body["messages"] = nlohmann::ordered_json::array({{{"role", "user"}, {"content", "Hello"}}});
  } else {
    body["prompt"] = "Hello";
  }
  body.update(nlohmann::ordered_json::parse(absl::StrCat("{", fields, "}")));
  return body.dump();
}

inline ApiRequest Parsed(Endpoint endpoint, const std::string& fields) {
  absl::StatusOr<ApiRequest> request = ParseApiRequest(endpoint, Body(endpoint, fields));
  EXPECT_TRUE(request.ok()) << fields << ": " << request.status();
  return request.ok() ? *std::move(request) : ApiRequest();
}

inline void ExpectRefusedBody(Endpoint endpoint, const std::string& body, const std::string& param,
                              const std::string& message) {
  const absl::Status status = ParseApiRequest(endpoint, body).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << body;
  EXPECT_EQ(ParamOf(status), param) << body;
  EXPECT_THAT(std::string(status.message()), ::testing::HasSubstr(message)) << body;
}

inline void ExpectRefused(Endpoint endpoint, const std::string& fields, const std::string& param,
                          const std::string& message) {
  ExpectRefusedBody(endpoint, Body(endpoint, fields), param, message);
}

template <typename T>
inline std::string List(size_t count, const T& element) {
  return nlohmann::ordered_json(std::vector<T>(count, element)).dump();
}

inline std::string Messages(const std::string& message) {
  return absl::StrCat("\"messages\":[", message, "]");
}

}  // namespace droidspeak
