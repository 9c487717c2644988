// SPDX-License-Identifier: Apache-2.0
#include "cacheserver/service/service_metrics.h"

#include "absl/strings/ascii.h"
#include "common/base/check.h"
#include "common/transport/transport.h"

namespace droidspeak {

ServiceMetrics::ServiceMetrics(Metrics& metrics)
    : fetch_seconds(metrics.Histogram("fetch_duration_seconds", "From a fetch's arrival to its end.",
                                      Metrics::DurationBuckets())),
      store_bytes(metrics.Counter("store_bytes_total", "Bytes of extents stored.")),
      store_seconds(
          metrics.Histogram("store_duration_seconds", "From a fill's arrival to its end.", Metrics::DurationBuckets())),
      coverage_hits(metrics.Counter("coverage_blocks_total", "Blocks asked for.", {{"result", "hit"}})),
      coverage_misses(metrics.Counter("coverage_blocks_total", "Blocks asked for.", {{"result", "miss"}})),
      fill_checksum_errors(metrics.Counter("checksum_errors_total", "Extents whose bytes were not what they should be.",
                                           {{"where", "fill"}})),
      sessions(metrics.Gauge("sessions", "Open sessions.")),
      inflight_bytes(metrics.Gauge("inflight_bytes", "Bytes of transfers under way.")),
      metrics_(metrics) {
  for (const Transport* transport : AllTransports()) {
    const std::string name(transport->name());
    for (size_t kind = 0; kind < kKindNames.size(); ++kind) {
      for (size_t tier = 0; tier < kTierNames.size(); ++tier) {
        fetch_bytes_[name][kind][tier] =
            &metrics.Counter("fetch_bytes_total", "Bytes pushed to clients, by the tier they came from.",
                             {{"transport", name}, {"kind", kKindNames[kind]}, {"tier", kTierNames[tier]}});
      }
    }
  }
  for (const absl::StatusCode code : {absl::StatusCode::kInvalidArgument, absl::StatusCode::kResourceExhausted}) {
    metrics_.Counter("rejected_total", "Requests refused.",
                     {{"reason", absl::AsciiStrToLower(StatusCodeToString(code))}});
  }
}

prometheus::Counter& ServiceMetrics::FetchBytes(std::string_view transport, Kind kind, size_t tier) {
  const auto found = fetch_bytes_.find(transport);
  DROIDSPEAK_CHECK(found != fetch_bytes_.end());
  return *found->second[static_cast<size_t>(kind)][tier];
}

void ServiceMetrics::UpdateResources() {
  for (const Transport* transport : AllTransports()) {
    for (const Transport::Resource& resource : transport->resources()) {
      metrics_
          .Gauge("transport_resources", "What a transport holds or has counted: registrations, queue pairs and so on.",
                 {{"transport", std::string(transport->name())}, {"resource", resource.name}})
          .Set(static_cast<double>(resource.count));
    }
  }
}

void ServiceMetrics::Rejected(absl::StatusCode code) {
  metrics_.Counter("rejected_total", "Requests refused.", {{"reason", absl::AsciiStrToLower(StatusCodeToString(code))}})
      .Increment();
}

}  // namespace droidspeak
