// SPDX-License-Identifier: Apache-2.0
#include "cacheserver/admin/store_metrics.h"

#include "cacheserver/service/service_metrics.h"

namespace droidspeak {
namespace {

prometheus::Counter* Evictions(Metrics& metrics, const char* from, const char* to) {
  return &metrics.Counter("evictions_total", "Extents that left a tier.", {{"from", from}, {"to", to}});
}

}  // namespace

void StoreMetrics::Followed::Follow(uint64_t total) {
  if (total > seen) counter->Increment(static_cast<double>(total - seen));
  seen = total;
}

StoreMetrics::StoreMetrics(Metrics& metrics, const ExtentStore& store)
    : metrics_(metrics),
      store_(store),
      blocks_(metrics.Gauge("cache_blocks", "Blocks in the index.")),
      degraded_(metrics.Gauge("cache_degraded", "1 while the RocksDB tier does not work.")) {
  for (size_t tier = 0; tier < kTiers; ++tier) {
    const Metrics::Labels labels = {{"tier", kTierNames[tier]}};
    bytes_[tier] = &metrics.Gauge("cache_bytes", "Bytes of extents in a tier.", labels);
    capacity_[tier] = &metrics.Gauge("cache_capacity_bytes", "Bytes that a tier can hold.", labels);
    for (size_t kind = 0; kind < kKindNames.size(); ++kind) {
      extents_[tier][kind] = &metrics.Gauge("cache_extents", "Extents in a tier.",
                                            {{"tier", kTierNames[tier]}, {"kind", kKindNames[kind]}});
    }
  }
  host_to_rocksdb_.counter = Evictions(metrics, "host", "rocksdb");
  host_to_gone_.counter = Evictions(metrics, "host", "gone");
  rocksdb_to_gone_.counter = Evictions(metrics, "rocksdb", "gone");
  checksum_errors_.counter = &metrics.Counter(
      "checksum_errors_total", "Extents whose bytes were not what they should be.", {{"where", "rocksdb"}});
}

void StoreMetrics::Update() {
  const StoreStats stats = store_.stats();
  for (size_t tier = 0; tier < kTiers; ++tier) {
    const StoreStats::TierStats& from = stats.tiers[tier];
    bytes_[tier]->Set(static_cast<double>(from.bytes[0] + from.bytes[1]));
    capacity_[tier]->Set(static_cast<double>(from.capacity_bytes));
    for (size_t kind = 0; kind < kKindNames.size(); ++kind) {
      extents_[tier][kind]->Set(static_cast<double>(from.extents[kind]));
    }
  }
  for (const TenantInfo& tenant : store_.Tenants()) {
    for (size_t tier = 0; tier < kTiers; ++tier) {
      metrics_
          .Gauge("tenant_bytes", "Bytes of a tenant's extents in a tier.",
                 {{"tenant", tenant.name}, {"tier", kTierNames[tier]}})
          .Set(static_cast<double>(tenant.bytes[tier]));
    }
  }
  blocks_.Set(static_cast<double>(stats.blocks));
  degraded_.Set(store_.degraded().has_value() ? 1 : 0);
  host_to_rocksdb_.Follow(stats.host_to_rocksdb);
  host_to_gone_.Follow(stats.host_to_gone);
  rocksdb_to_gone_.Follow(stats.rocksdb_to_gone);
  checksum_errors_.Follow(stats.checksum_errors);
}

}  // namespace droidspeak
