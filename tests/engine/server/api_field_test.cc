// SPDX-License-Identifier: Apache-2.0
#include "engine/server/api_field.h"

#include <algorithm>
#include <iterator>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/json_depth.h"
#include "gtest/gtest.h"
#include "tests/engine/server/api_bodies.h"

namespace droidspeak {
namespace {

using Json = nlohmann::ordered_json;

TEST(ApiFieldTest, RefusesWhatIsNoJsonObject) {
  ExpectRefusedBody(kChat, "", "", "it ends too early, after 0 bytes");
  ExpectRefusedBody(kChat, R"({"model": "m)", "", "it ends too early, after 12 bytes");
  ExpectRefusedBody(kChat, R"({"model": })", "", "unexpected at byte 11 of 11");
  ExpectRefusedBody(kChat, R"({"model": "m"} x)", "", "at byte 16 of 16");
  ExpectRefusedBody(kChat, "{\"model\": \"\xFF\"}", "", "not valid JSON in UTF-8: unexpected at byte 12 of 14");
  ExpectRefusedBody(kChat, R"({"model": "\ud800"})", "", "at byte ");
  ExpectRefusedBody(kChat, R"({"temperature": 1e999})", "", "at byte ");
  ExpectRefusedBody(kChat, R"({"temperature": NaN})", "", "at byte ");
  for (const char* body : {"[]", "null", "\"a\"", "5"}) {
    ExpectRefusedBody(kChat, body, "", "the body is not a JSON object");
  }
  ExpectRefusedBody(kChat, "{}", "model", "model: missing; expected a string");
}

TEST(ApiFieldTest, NestingAndNumberOfFieldsAreLimited) {
  const auto nested = [](int depth) {
    return Body(kChat, absl::StrCat("\"metadata\":", std::string(depth, '['), std::string(depth, ']')));
  };
  EXPECT_TRUE(ParseApiRequest(kChat, nested(kMaxJsonDepth - 1)).ok());
  ExpectRefusedBody(kChat, nested(kMaxJsonDepth), "", "nests deeper than 64 levels");
  ExpectRefusedBody(kChat, std::string(1 << 20, '['), "", "nests deeper than 64 levels");
  const auto object = [](int64_t fields) {
    Json json = Json::object();
    for (int64_t i = 0; i < fields; ++i) json[absl::StrCat(i)] = i;
    return Body(kChat, absl::StrCat("\"metadata\":[", json.dump(), ",", json.dump(), "]"));
  };
  EXPECT_TRUE(ParseApiRequest(kChat, object(kMostJsonFields)).ok());
  ExpectRefusedBody(kChat, object(kMostJsonFields + 1), "", "an object of more than 256 fields");
}

// Bytes of a valid body are replaced, removed, doubled or taken from elsewhere in it.
std::string Mutated(std::string body, std::mt19937_64& random) {
  static constexpr std::string_view kTelling = "{}[]\",:\\0123456789-+.eEntfu \n\x80\xC3\xFF";
  const auto below = [&random](size_t limit) { return static_cast<size_t>(random() % limit); };
  for (size_t edits = 1 + below(3); edits > 0 && !body.empty(); --edits) {
    const size_t at = below(body.size());
    const size_t size = 1 + below(std::min<size_t>(8, body.size() - at));
    switch (below(5)) {
      case 0:
        body[at] = kTelling[below(kTelling.size())];
        break;
      case 1:
        body[at] = static_cast<char>(random());
        break;
      case 2:
        body.erase(at, size);
        break;
      case 3:
        body.insert(at, body.substr(at, size));
        break;
      default:
        body.replace(at, size, body.substr(below(body.size()), size));
    }
  }
  return body;
}

// A value anywhere in a valid body is another one.
std::string OtherValue(const std::string& body, std::mt19937_64& random) {
  static const std::vector<std::string>& values = *new std::vector<std::string>{"null",
                                                                                "true",
                                                                                "false",
                                                                                "0",
                                                                                "1",
                                                                                "-1",
                                                                                "2",
                                                                                "1.5",
                                                                                "1e300",
                                                                                "18446744073709551615",
                                                                                "-9223372036854775808",
                                                                                "\"\"",
                                                                                "\"text\"",
                                                                                "[]",
                                                                                "{}",
                                                                                "[[]]",
                                                                                "[0]",
                                                                                "[null]",
                                                                                "[\"a\", 1]",
                                                                                "{\"type\": \"text\"}",
                                                                                "[[1], [2]]"};
  Json json = Json::parse(body);
  Json* value = &json;
  do {
    auto element = value->begin();
    std::advance(element, random() % value->size());
    value = &*element;
  } while (value->is_structured() && !value->empty() && random() % 3 != 0);
  *value = Json::parse(values[random() % values.size()]);
  return json.dump();
}

TEST(ApiFieldTest, AnyBodyIsReadOrRefused) {
  const std::vector<std::pair<Endpoint, std::string>> bodies = {
      {kCompletions,
       Body(kCompletions, R"("prompt": ["a", "b"], "n": 2, "logprobs": 5, "stop": ["x", "\n"], "seed": 7)")},
      {kCompletions, Body(kCompletions, R"("prompt": [[1, 2], [3]], "temperature": 0.5, "best_of": 1, "echo": false)")},
      {kCompletions, Body(kCompletions, R"("stream": true, "stream_options": {"include_usage": true}, "top_k": -1)")},
      {kChat, Body(kChat, R"("max_tokens": 5, "max_completion_tokens": 5, "logprobs": true, "top_logprobs": 2)")},
      {kChat, Body(kChat, Messages(R"({"role":"user","content":[{"type":"text","text":"ä"}],"tool_calls":[]})"))},
      {kChat, Body(kChat, R"("response_format": {"type": "text"}, "tools": [], "metadata": {"a": "b"}, "top_p": 1)")}};
  std::mt19937_64 random(1);
  int64_t read = 0;
  constexpr int64_t kCases = 30000;  // of bytes in two of three
  for (int64_t i = 0; i < kCases; ++i) {
    const auto& [endpoint, body] = bodies[i % bodies.size()];
    const std::string mutated = i % 3 == 0 ? OtherValue(body, random) : Mutated(body, random);
    const absl::Status status = ParseApiRequest(endpoint, mutated).status();
    read += status.ok() ? 1 : 0;
    ASSERT_TRUE(status.ok() || status.code() == absl::StatusCode::kInvalidArgument) << status << "\n" << mutated;
  }
  EXPECT_GT(read, kCases / 20);
  EXPECT_LT(read, kCases / 2);
}

}  // namespace
}  // namespace droidspeak
