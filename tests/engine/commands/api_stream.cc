// SPDX-License-Identifier: Apache-2.0
#include "tests/engine/commands/api_stream.h"

#include <optional>
#include <utility>

#include "gtest/gtest.h"

namespace droidspeak {
namespace {

using nlohmann::json;

HttpQuestion Question(const std::string& path, json body) {
  body["stream"] = true;
  return {.path = path, .method = "POST", .body = body.dump(), .headers = {}};
}

// "" for null and for nothing.
std::string StringAt(const json& object, const char* name) {
  const auto found = object.find(name);
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

}  // namespace

ApiStream::ApiStream(const std::string& address, const std::string& path, json body)
    : call_(address, Question(path, std::move(body))) {}

bool ApiStream::Next() {
  const std::optional<std::string> event = call_.NextEvent();
  if (!event.has_value()) return false;
  if (*event == "[DONE]") {
    done_ = !call_.NextEvent().has_value() && call_.complete();
    return false;
  }
  // What is no UTF-8 is no JSON either.
  json chunk = json::parse(*event, nullptr, /*allow_exceptions=*/false);
  EXPECT_TRUE(chunk.is_object() && chunk.contains("choices")) << *event;
  if (!chunk.is_object() || !chunk.contains("choices")) return true;
  for (const json& choice : chunk.at("choices")) Take(choice);
  chunks_.push_back(std::move(chunk));
  return true;
}

void ApiStream::Take(const json& choice) {
  const int64_t index = choice.value("index", int64_t{-1});
  texts_[index] += StringAt(choice, "text");
  if (choice.contains("delta")) texts_[index] += StringAt(choice.at("delta"), "content");
  if (const std::string reason = StringAt(choice, "finish_reason"); !reason.empty()) {
    EXPECT_EQ(finish_reasons_[index], "");
    finish_reasons_[index] = reason;
  }
}

void ApiStream::ReadAll() {
  while (Next()) {
  }
}

}  // namespace droidspeak
