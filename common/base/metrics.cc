// SPDX-License-Identifier: Apache-2.0
#include "common/base/metrics.h"

#include <utility>

#include "prometheus/text_serializer.h"

namespace droidspeak {
namespace {

constexpr char kPrefix[] = "droidspeak_";

}  // namespace

Metrics::Metrics() : registry_(std::make_shared<prometheus::Registry>()) {}
Metrics::~Metrics() = default;

prometheus::Counter& Metrics::Counter(const std::string& name, const std::string& help, const Labels& labels) {
  return prometheus::BuildCounter().Name(kPrefix + name).Help(help).Register(*registry_).Add(labels);
}

prometheus::Gauge& Metrics::Gauge(const std::string& name, const std::string& help, const Labels& labels) {
  return prometheus::BuildGauge().Name(kPrefix + name).Help(help).Register(*registry_).Add(labels);
}

prometheus::Histogram& Metrics::Histogram(const std::string& name, const std::string& help,
                                          const std::vector<double>& buckets, const Labels& labels) {
  return prometheus::BuildHistogram().Name(kPrefix + name).Help(help).Register(*registry_).Add(labels, buckets);
}

void Metrics::BeforeScrape(std::function<void()> update) {
  absl::MutexLock lock(&mutex_);
  before_scrape_.push_back(std::move(update));
}

std::string Metrics::Text() const {
  std::vector<std::function<void()>> updates;
  {
    absl::MutexLock lock(&mutex_);
    updates = before_scrape_;
  }
  for (const auto& update : updates) update();
  return prometheus::TextSerializer().Serialize(registry_->Collect());
}

const std::vector<double>& Metrics::DurationBuckets() {
  static const auto* const kBuckets = new std::vector<double>{
      0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 60};
  return *kBuckets;
}

}  // namespace droidspeak
