// SPDX-License-Identifier: Apache-2.0
// What a benchmark says: one JSON object for programs, one table for people.
#pragma once

#include <string>
#include <vector>

#include "nlohmann/json.hpp"

namespace droidspeak::bench {

// {"bench","machine","versions","date","settings","results":[{"name","unit","median","p25","p75","samples"}],"ratios",
// "targets"}. Every target is a minimum and names a ratio. Not thread-safe.
class Report {
 public:
  explicit Report(std::string bench);

  void Setting(const std::string& name, nlohmann::json value) { settings_[name] = std::move(value); }
  void Version(const std::string& name, const std::string& version) { versions_[name] = version; }
  // The samples of one figure, in the order taken.
  void Result(const std::string& name, const std::string& unit, const std::vector<double>& samples);
  // The same of single requests: p99 and p999 as well, and at most kSamples of the samples, evenly spaced.
  void Latency(const std::string& name, const std::string& unit, const std::vector<double>& samples);
  // Says how much what the others are compared with varies: a run is not valid when it is more than 10 % between
  // quartiles.
  void Baseline(const std::vector<double>& samples);
  void Ratio(const std::string& name, double value) { ratios_[name] = value; }
  void Target(const std::string& ratio, double minimum) { targets_[ratio] = minimum; }

  nlohmann::json Json() const;
  std::string Table() const;
  // Prints one or the other to standard output.
  void Print(bool json) const;

 private:
  static constexpr size_t kSamples = 200;

  const std::string bench_;
  nlohmann::json versions_;
  nlohmann::json settings_ = nlohmann::json::object();
  nlohmann::json results_ = nlohmann::json::array();
  nlohmann::json ratios_ = nlohmann::json::object();
  nlohmann::json targets_ = nlohmann::json::object();
};

// The value below which `share` of the samples lie, linearly interpolated; 0 without samples.
double Quantile(std::vector<double> samples, double share);
inline double Median(const std::vector<double>& samples) {
  return Quantile(samples, 0.5);
}

}  // namespace droidspeak::bench
