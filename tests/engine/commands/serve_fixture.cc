// SPDX-License-Identifier: Apache-2.0
#include "tests/engine/commands/serve_fixture.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "engine/tokenizer/tokenizer.h"
#include "tests/engine/commands/engine_program.h"
#include "tests/engine/prefill/tiny_models.h"

namespace droidspeak {
namespace {

using nlohmann::json;

constexpr int kVocabulary = 535;  // of the tokenizer
// Two of the tokenizer's special tokens around each turn.
constexpr char kChatTemplate[] =
    "{% for message in messages %}<s>{{ message['role'] }}: {{ message['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<s>assistant:{% endif %}";

void WriteServedModel(const std::string& dir, TinyModel model) {
  model.vocab = kVocabulary;
  model.max_positions = static_cast<int>(kPositions);
  std::filesystem::create_directories(dir);
  WriteTinyModel(dir, model);
  std::filesystem::copy_file(TOKENIZER, dir + "/tokenizer.json");
  std::ofstream(dir + "/generation_config.json") << R"({"eos_token_id": [1]})";
  std::ofstream(dir + "/chat_template.jinja") << kChatTemplate;
}

}  // namespace

json Greedy(const json& prompt) {
  return {{"prompt", prompt}, {"temperature", 0}, {"max_tokens", kAnswerTokens}, {"ignore_eos", true}};
}

json Endless(const std::string& prompt) {
  return {{"prompt", prompt}, {"max_tokens", 100'000}, {"ignore_eos", true}, {"seed", 1}, {"logprobs", 0}};
}

json Turn(const std::string& text) {
  return json::array({{{"role", "user"}, {"content", text}}});
}

std::string TextOf(const json& answer, int64_t index) {
  const json& choice = answer.at("choices").at(static_cast<size_t>(index));
  const json& text = choice.contains("message") ? choice.at("message").at("content") : choice.at("text");
  return text.get<std::string>();
}

ServeTest::ServeTest() {
  WriteServedModel(Path("base"), {.seed = 7});
  WriteServedModel(Path("tuned"), {.seed = 7, .drift_seed = 8, .drift = 0.3});
  for (const auto& [name, seed] : {std::pair("north", 71), std::pair("south", 72)}) {
    std::filesystem::create_directories(Path(name));
    WriteTinyAdapter(Path(name), {}, static_cast<uint64_t>(seed));
  }
}

void ServeTest::Serve(const std::vector<std::string>& arguments, const std::string& model) {
  engine_.reset();
  std::vector<std::string> all = {"--model=" + Path(model), "--kv-memory=256MiB"};
  all.insert(all.end(), arguments.begin(), arguments.end());
  engine_ = ServeProcess::Start(std::move(all)).value();
}

json ServeTest::Body(const json& fields) const {
  json body = fields;
  if (!body.contains("model")) body["model"] = engine_->model();
  return body;
}

HttpAnswer ServeTest::Get(const std::string& path, const std::map<std::string, std::string>& headers) const {
  return HttpCall(address(), {.path = path, .headers = headers}).Whole();
}

HttpAnswer ServeTest::Post(const std::string& path, const json& fields,
                           const std::map<std::string, std::string>& headers) const {
  return HttpCall(address(), {.path = path, .method = "POST", .body = Body(fields).dump(), .headers = headers}).Whole();
}

json ServeTest::Ask(const std::string& path, const json& fields) const {
  const HttpAnswer answer = Post(path, fields);
  EXPECT_EQ(answer.status, 200) << answer.body;
  return json::parse(answer.body, nullptr, /*allow_exceptions=*/false);
}

std::unique_ptr<HttpCall> ServeTest::Send(const std::string& path, const json& fields) const {
  return std::make_unique<HttpCall>(
      address(), HttpQuestion{.path = path, .method = "POST", .body = Body(fields).dump(), .headers = {}});
}

std::unique_ptr<ApiStream> ServeTest::Stream(const std::string& path, const json& fields) const {
  return std::make_unique<ApiStream>(address(), path, Body(fields));
}

double ServeTest::Metric(const std::string& name) const {
  const std::string text = Get("/metrics").body, wanted = absl::StrCat("\ndroidspeak_engine_", name, " ");
  const size_t at = text.find(wanted);
  return at == std::string::npos ? -1 : std::strtod(text.c_str() + at + wanted.size(), nullptr);
}

bool ServeTest::WaitForMetric(const std::string& name, double value) const {
  const absl::Time limit = absl::Now() + kPatience;
  while (Metric(name) != value) {
    if (absl::Now() > limit) return false;
    absl::SleepFor(absl::Milliseconds(5));  // between questions, so that the engine has the machine for itself
  }
  return true;
}

json ServeTest::Generate(const std::string& model, const std::vector<int32_t>& prompt,
                         const std::string& arguments) const {
  const std::string file = Path("prompt.safetensors");
  const std::vector<int64_t> ids(prompt.begin(), prompt.end());
  WriteTokens(file, {{"prompt", ids}});
  const Outcome outcome =
      RunEngine(absl::StrCat("generate --dtype fp32 --temperature 0 --ignore-eos --json --max-tokens ", kAnswerTokens,
                             " --model ", Path(model), " --tokens ", file, " ", arguments));
  EXPECT_EQ(outcome.exit_code, 0) << outcome.messages;
  return json::parse(outcome.output, nullptr, /*allow_exceptions=*/false);
}

std::vector<int32_t> ServeTest::Encode(const std::string& text, bool add_special_tokens) const {
  return Tokenizer::Load(Path("base")).value()->Encode(text, add_special_tokens).value();
}

std::string ServeTest::Decode(const std::vector<int32_t>& ids) const {
  return Tokenizer::Load(Path("base")).value()->Decode(ids, /*skip_special_tokens=*/true).value();
}

}  // namespace droidspeak
