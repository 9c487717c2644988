// SPDX-License-Identifier: Apache-2.0
// A process's Prometheus metrics. Names are given without the prefix, which is "droidspeak_".
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "prometheus/counter.h"
#include "prometheus/gauge.h"
#include "prometheus/histogram.h"
#include "prometheus/registry.h"

namespace droidspeak {

// Owns the metrics; the references it returns live as long as it does and are thread-safe. Asking again for the same
// name and labels returns the same metric. Thread-safe. Look metrics up once, at start: a look-up takes locks.
class Metrics {
 public:
  using Labels = std::map<std::string, std::string>;

  Metrics();
  ~Metrics();
  Metrics(const Metrics&) = delete;
  Metrics& operator=(const Metrics&) = delete;

  prometheus::Counter& Counter(const std::string& name, const std::string& help, const Labels& labels = {});
  prometheus::Gauge& Gauge(const std::string& name, const std::string& help, const Labels& labels = {});
  // `buckets` are upper bounds, ascending. All metrics of one name have the same.
  prometheus::Histogram& Histogram(const std::string& name, const std::string& help, const std::vector<double>& buckets,
                                   const Labels& labels = {});

  // `update` runs before every Text(), to set gauges that nobody keeps up to date. It must outlive this object or be
  // safe to call for as long.
  void BeforeScrape(std::function<void()> update);

  // All metrics in Prometheus' text format.
  std::string Text() const;

  // Upper bounds for durations in seconds: 100 us to 60 s.
  static const std::vector<double>& DurationBuckets();

 private:
  const std::shared_ptr<prometheus::Registry> registry_;
  mutable absl::Mutex mutex_;
  std::vector<std::function<void()>> before_scrape_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace droidspeak
