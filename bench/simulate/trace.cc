// SPDX-License-Identifier: Apache-2.0
#include "bench/simulate/trace.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <random>

#include "absl/strings/str_cat.h"

namespace droidspeak::bench {
namespace {

// A model's block of 256 tokens: what it weighs, and what it costs to compute. KV of grouped heads is light for its
// cost, that of many heads heavy.
struct Model {
  uint32_t bytes;
  float seconds;
};
constexpr std::array<Model, 3> kModels = {Model{32 << 20, 0.050F}, Model{128 << 20, 0.050F}, Model{80 << 20, 0.400F}};

class Maker {
 public:
  Maker(std::string name, uint64_t seed) : random_(seed) { trace_.name = std::move(name); }

  uint32_t Draw(uint32_t below) { return std::uniform_int_distribution<uint32_t>(0, below - 1)(random_); }
  uint32_t Between(uint32_t least, uint32_t most) { return least + Draw(most - least + 1); }

  // Appends `count` blocks to a chain.
  void Grow(std::vector<uint32_t>& chain, uint32_t count, const Model& model) {
    for (uint32_t i = 0; i < count; ++i) {
      trace_.blocks.push_back(
          {chain.empty() ? kNoBlock : chain.back(), static_cast<uint32_t>(chain.size()), model.bytes, model.seconds});
      chain.push_back(static_cast<uint32_t>(trace_.blocks.size() - 1));
    }
  }
  std::vector<uint32_t> Document(uint32_t least, uint32_t most) {
    std::vector<uint32_t> chain;
    Grow(chain, Between(least, most), kModels[Draw(kModels.size())]);
    return chain;
  }
  std::vector<std::vector<uint32_t>> Documents(uint32_t count) {
    std::vector<std::vector<uint32_t>> documents;
    for (uint32_t i = 0; i < count; ++i) documents.push_back(Document(4, 40));
    return documents;
  }
  void Request(const std::vector<uint32_t>& chain) { trace_.requests.push_back(chain); }
  std::mt19937_64& random() { return random_; }
  Trace Take() { return std::move(trace_); }

 private:
  std::mt19937_64 random_;
  Trace trace_;
};

std::discrete_distribution<uint32_t> Zipf(uint32_t count, double exponent) {
  std::vector<double> weights;
  for (uint32_t i = 1; i <= count; ++i) weights.push_back(std::pow(i, -exponent));
  return {weights.begin(), weights.end()};
}

Trace MakeZipf(Maker maker, uint32_t requests, bool scans) {
  const auto documents = maker.Documents(2000);
  auto popularity = Zipf(static_cast<uint32_t>(documents.size()), 0.9);
  for (uint32_t i = 0; i < requests; ++i) {
    maker.Request(scans && maker.Draw(3) == 0 ? maker.Document(20, 40) : documents[popularity(maker.random())]);
  }
  return maker.Take();
}

Trace MakeHandoff(Maker maker, uint32_t requests) {
  const auto documents = maker.Documents(300);
  auto popularity = Zipf(static_cast<uint32_t>(documents.size()), 0.9);
  for (uint32_t i = 0; i < requests; ++i) {
    maker.Request(documents[popularity(maker.random())]);
    if (maker.Draw(2) == 0) continue;
    const auto once = maker.Document(4, 40);
    maker.Request(once);  // by its sender
    maker.Request(once);  // by its receiver
    i += 2;
  }
  return maker.Take();
}

Trace MakeLoop(Maker maker, uint32_t requests) {
  const auto documents = maker.Documents(400);
  for (uint32_t i = 0; i < requests; ++i) maker.Request(documents[i % documents.size()]);
  return maker.Take();
}

Trace MakeAgents(Maker maker, uint32_t requests) {
  struct Agent {
    std::vector<uint32_t> prompt;
    std::vector<uint32_t> conversation;
    uint32_t model;
    uint32_t longest;
  };
  std::vector<std::vector<uint32_t>> prompts(12);
  for (auto& prompt : prompts) maker.Grow(prompt, maker.Between(8, 24), kModels[(&prompt - prompts.data()) % 3]);
  std::vector<Agent> agents;
  for (uint32_t i = 0; i < 300; ++i) {
    const uint32_t prompt = maker.Draw(static_cast<uint32_t>(prompts.size()));
    agents.push_back({prompts[prompt], prompts[prompt], prompt % 3, maker.Between(30, 90)});
  }
  auto activity = Zipf(static_cast<uint32_t>(agents.size()), 0.7);
  for (uint32_t i = 0; i < requests; ++i) {
    Agent& agent = agents[activity(maker.random())];
    if (agent.conversation.size() > agent.longest) agent.conversation = agent.prompt;
    maker.Grow(agent.conversation, maker.Between(1, 4), kModels[agent.model]);
    maker.Request(agent.conversation);
  }
  return maker.Take();
}

}  // namespace

uint64_t Trace::bytes() const {
  uint64_t sum = 0;
  for (const TraceBlock& block : blocks) sum += block.bytes;
  return sum;
}

uint64_t Trace::longest_request_bytes() const {
  uint64_t longest = 0;
  for (const std::vector<uint32_t>& request : requests) {
    uint64_t sum = 0;
    for (const uint32_t block : request) sum += blocks[block].bytes;
    longest = std::max(longest, sum);
  }
  return longest;
}

absl::StatusOr<Trace> MakeTrace(const std::string& name, uint64_t seed, uint32_t requests) {
  Maker maker(name, seed);
  if (name == "zipf") return MakeZipf(std::move(maker), requests, false);
  if (name == "scan") return MakeZipf(std::move(maker), requests, true);
  if (name == "handoff") return MakeHandoff(std::move(maker), requests);
  if (name == "loop") return MakeLoop(std::move(maker), requests);
  if (name == "agents") return MakeAgents(std::move(maker), requests);
  return absl::NotFoundError(absl::StrCat("no trace '", name, "'; there are zipf, agents, scan, handoff and loop"));
}

}  // namespace droidspeak::bench
