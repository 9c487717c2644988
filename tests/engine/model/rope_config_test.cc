// SPDX-License-Identifier: Apache-2.0
#include "engine/model/rope_config.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "absl/strings/str_replace.h"
#include "tests/engine/model/fixture.h"

namespace droidspeak {
namespace {

using Json = nlohmann::ordered_json;

constexpr int64_t kHeadDim = 8;
constexpr int64_t kPositions = 1024;

absl::StatusOr<RopeConfig> Read(const char* text, const RopeTraits& traits = {}) {
  const Json json = Json::parse(text);
  RopeConfig config;
  const absl::Status status = ReadRope(JsonFields(json, "dir/config.json"), traits, kHeadDim, kPositions, config);
  if (!status.ok()) return status;
  return config;
}

TEST(RopeConfigTest, EachKindReadsItsFields) {
  EXPECT_EQ(Read("{}")->kind, RopeKind::kDefault);
  EXPECT_EQ(Read("{}")->rotated_dims, kHeadDim);
  const RopeConfig linear = Read(R"({"rope_scaling": {"type": "linear", "factor": 4}})").value();
  EXPECT_EQ(linear.kind, RopeKind::kLinear);
  EXPECT_EQ(linear.factor, 4);
  const RopeConfig dynamic = Read(R"({"rope_scaling": {"type": "dynamic", "factor": 2.5}})").value();
  EXPECT_EQ(dynamic.kind, RopeKind::kDynamic);
  EXPECT_EQ(dynamic.original_max_positions, kPositions) << "that of the model, as in transformers";
  const RopeConfig yarn = Read(R"({"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e6, "factor": 4.0,
      "original_max_position_embeddings": 256}})")
                              .value();
  EXPECT_EQ(yarn.kind, RopeKind::kYarn);
  EXPECT_EQ(yarn.original_max_positions, 256);
  EXPECT_EQ(yarn.attention_factor, 0.1 * std::log(4.0) + 1);
  EXPECT_EQ(yarn.beta_fast, 32);
  EXPECT_EQ(yarn.beta_slow, 1);
  EXPECT_TRUE(yarn.truncate);
  EXPECT_EQ(Read(R"({"rope_scaling": {"type": "yarn", "factor": 2}})")->original_max_positions, kPositions);
  EXPECT_EQ(Read(R"({"rope_scaling": {"type": "yarn", "factor": 2, "beta_fast": 0, "beta_slow": 3}})")->beta_fast, 32);
  EXPECT_EQ(Read(R"({"rope_scaling": {"type": "yarn", "factor": 2, "attention_factor": 1.5}})")->attention_factor, 1.5);
}

constexpr char kLongrope[] = R"({"rope_scaling": {"type": "su", "short_factor": [1, 2, 3, 4.5],
    "long_factor": [5, 6, 7, 8]}, "original_max_position_embeddings": 64})";

TEST(RopeConfigTest, LongropeTakesItsAttentionFactorFromTheLengths) {
  const RopeConfig config = Read(kLongrope).value();
  EXPECT_EQ(config.kind, RopeKind::kLongrope);
  EXPECT_EQ(config.short_factors, (std::vector<double>{1, 2, 3, 4.5}));
  EXPECT_EQ(config.long_factors, (std::vector<double>{5, 6, 7, 8}));
  EXPECT_EQ(config.original_max_positions, 64);
  EXPECT_EQ(config.attention_factor, std::sqrt(1 + std::log(16.0) / std::log(64.0)));
  // Phi-3's class has an original length where the file has none, and that goes before the parameters' own.
  const char* text = R"({"rope_parameters": {"rope_type": "longrope", "short_factor": [1, 1, 1, 1],
      "long_factor": [2, 2, 2, 2], "factor": 1, "original_max_position_embeddings": 64}})";
  EXPECT_EQ(Read(text)->original_max_positions, 64);
  EXPECT_EQ(Read(text)->attention_factor, 1);
  EXPECT_EQ(Read(text, {.original_max_positions = 512})->original_max_positions, 512);
  const std::string yarn = absl::StrReplaceAll(kLongrope, {{"\"su\"", "\"yarn\""}});
  EXPECT_EQ(Read(yarn.c_str(), {.yarn_is_longrope = true})->kind, RopeKind::kLongrope);
  EXPECT_TRUE(FailsNaming(Read(yarn.c_str()).status(), {"factor", "yarn"}));
}

TEST(RopeConfigTest, APartOfEachHeadWhereTheFamilyHasIt) {
  EXPECT_EQ(Read(R"({"partial_rotary_factor": 0.75})", {.partial = true})->rotated_dims, 6);
  EXPECT_EQ(Read(R"({"rope_parameters": {"partial_rotary_factor": 0.5}})", {.partial = true})->rotated_dims, 4);
  EXPECT_EQ(Read(R"({"partial_rotary_factor": 1.0})")->rotated_dims, kHeadDim);
  EXPECT_TRUE(FailsNaming(Read(R"({"partial_rotary_factor": 0.75})").status(), {"partial_rotary_factor", "0.75"}));
  for (const char* bad : {"0", "1.5", "-1", "0.4", "0.1"}) {
    const std::string text = std::string(R"({"partial_rotary_factor": )") + bad + "}";
    EXPECT_TRUE(FailsNaming(Read(text.c_str(), {.partial = true}).status(), {"partial_rotary_factor", bad}));
  }
}

TEST(RopeConfigTest, RegimesChangeBehindTheOriginalLength) {
  const RopeConfig longrope = Read(kLongrope).value();
  EXPECT_EQ(RegimeOf(longrope, 1), Regime::kShort);
  EXPECT_EQ(RegimeOf(longrope, 64), Regime::kShort);
  EXPECT_EQ(RegimeOf(longrope, 65), Regime::kLong);
  EXPECT_TRUE(IsSharable(longrope, 65));
  const RopeConfig dynamic = Read(R"({"rope_scaling": {"type": "dynamic", "factor": 2}})").value();
  EXPECT_EQ(RegimeOf(dynamic, kPositions), Regime::kShort);
  EXPECT_TRUE(IsSharable(dynamic, kPositions));
  EXPECT_FALSE(IsSharable(dynamic, kPositions + 1));
  const RopeConfig yarn = Read(R"({"rope_scaling": {"type": "yarn", "factor": 2}})").value();
  EXPECT_EQ(RegimeOf(yarn, std::numeric_limits<int64_t>::max()), Regime::kNone);
  EXPECT_TRUE(IsSharable(yarn, std::numeric_limits<int64_t>::max()));
}

// Each line of a kind differs when its field alone does, and from the other kinds'.
TEST(RopeConfigTest, LinesTellEveryNumberApart) {
  RopeConfig yarn{.kind = RopeKind::kYarn, .rotated_dims = 8, .factor = 2, .original_max_positions = 64};
  RopeConfig longrope = yarn;
  longrope.kind = RopeKind::kLongrope;
  longrope.short_factors = {1, 2, 3, 4.5};
  longrope.long_factors = {5, 6, 7, 8};
  std::vector<RopeConfig> all = {yarn, longrope};
  const auto vary = [&all](RopeConfig config, auto field, auto value) {
    config.*field = value;
    all.push_back(config);
  };
  for (const RopeConfig& base : {yarn, longrope}) {
    vary(base, &RopeConfig::rotated_dims, 6);
    vary(base, &RopeConfig::theta, 10000.5);
    vary(base, &RopeConfig::original_max_positions, 65);
    vary(base, &RopeConfig::attention_factor, 1.25);
  }
  for (const RopeKind kind : {RopeKind::kDefault, RopeKind::kLinear, RopeKind::kDynamic, RopeKind::kLlama3}) {
    vary(yarn, &RopeConfig::kind, kind);
  }
  vary(yarn, &RopeConfig::factor, 2.5);
  vary(yarn, &RopeConfig::low_freq_factor, 2.0);
  vary(yarn, &RopeConfig::high_freq_factor, 5.0);
  vary(yarn, &RopeConfig::beta_fast, 31.0);
  vary(yarn, &RopeConfig::beta_slow, 2.0);
  vary(yarn, &RopeConfig::truncate, false);
  vary(longrope, &RopeConfig::short_factors, std::vector<double>{1, 2, 3, 4});
  vary(longrope, &RopeConfig::long_factors, std::vector<double>{5, 6, 7, 8.5});
  for (size_t i = 0; i < all.size(); ++i) {
    for (size_t j = i + 1; j < all.size(); ++j) {
      EXPECT_NE(RopeLines(all[i], kHeadDim), RopeLines(all[j], kHeadDim)) << i << " and " << j;
    }
  }
}

struct BadRope {
  const char* text;
  std::vector<std::string> parts;  // of the message
};

TEST(RopeConfigTest, BadFieldsAreRefusedNamingFileFieldAndExpectation) {
  const std::vector<BadRope> cases = {
      {R"({"rope_theta": 0})", {"rope_theta", "positive"}},
      {R"({"rope_theta": "big"})", {"rope_theta", "number"}},
      {R"({"rope_scaling": 2})", {"rope_scaling", "object"}},
      {R"({"rope_scaling": {"rope_type": "ntk", "factor": 2}})", {"rope_scaling", "rope_type", "ntk", "llama3, yarn"}},
      {R"({"rope_scaling": {"type": "linear"}})", {"factor", "missing"}},
      {R"({"rope_scaling": {"type": "linear", "factor": 0.5}})", {"factor", "at least 1"}},
      {R"({"rope_scaling": {"type": "dynamic"}})", {"factor", "missing", "dynamic"}},
      {R"({"rope_scaling": {"type": "llama3", "factor": 8}})", {"low_freq_factor", "missing"}},
      {R"({"rope_scaling": {"type": "llama3", "factor": 8, "low_freq_factor": 1}})", {"high_freq_factor"}},
      {R"({"rope_scaling": {"type": "llama3", "factor": 8, "low_freq_factor": 4, "high_freq_factor": 4}})",
       {"high_freq_factor", "more than low_freq_factor"}},
      {R"({"rope_scaling": {"type": "llama3", "factor": 8, "low_freq_factor": 1, "high_freq_factor": 4}})",
       {"original_max_position_embeddings", "missing"}},
      {R"({"rope_scaling": {"type": "yarn"}})", {"factor", "missing"}},
      {R"({"rope_scaling": {"type": "yarn", "factor": 2, "attention_factor": -1}})", {"attention_factor", "positive"}},
      {R"({"rope_scaling": {"type": "yarn", "factor": 2, "beta_fast": -1}})", {"beta_fast", "positive"}},
      {R"({"rope_scaling": {"type": "yarn", "factor": 2, "truncate": 1}})", {"truncate", "true or false"}},
      {R"({"rope_theta": 1, "rope_scaling": {"type": "yarn", "factor": 2}})", {"rope_theta", "more than 1"}},
      {R"({"rope_scaling": {"type": "longrope"}})", {"short_factor", "missing", "4 positive numbers"}},
      {R"({"rope_scaling": {"type": "longrope", "short_factor": [1, 1, 1]}})", {"short_factor", "4 positive numbers"}},
      {R"({"rope_scaling": {"type": "longrope", "short_factor": [1, 1, 1, 1], "long_factor": [1, 1, 0, 1]}})",
       {"long_factor", "4 positive numbers"}},
      {R"({"rope_scaling": {"type": "longrope", "short_factor": [1, 1, 1, 1], "long_factor": [1, 1, "2", 1]}})",
       {"long_factor", "4 positive numbers"}},
      {R"({"rope_parameters": {"rope_type": "default", "rope_theta": -1}})", {"rope_parameters", "rope_theta"}},
      {R"({"rope_parameters": {"full_attention": {"rope_type": "default"}}})", {"full_attention", "one set"}},
      {R"({"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.5}})", {"partial_rotary_factor"}},
  };
  for (const BadRope& bad : cases) {
    const absl::Status status = Read(bad.text).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << bad.text;
    std::vector<std::string> parts = bad.parts;
    parts.emplace_back("dir/config.json");
    EXPECT_TRUE(FailsNaming(status, parts)) << bad.text;
  }
}

}  // namespace
}  // namespace droidspeak
