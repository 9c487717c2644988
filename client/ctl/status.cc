// SPDX-License-Identifier: Apache-2.0
// `droidspeak-ctl status`: how each server is, and what its tenants have.
#include "common/base/status.h"

#include <limits>

#include "absl/strings/str_cat.h"
#include "client/ctl/ask_each.h"
#include "common/base/bytes.h"

namespace droidspeak::ctl {
namespace {

Json Quota(uint64_t bytes) {
  return bytes == std::numeric_limits<uint64_t>::max() ? Json() : Json(bytes);
}

absl::Status AskTenants(AdminClient& server, Json& tenants) {
  tenants = Json::array();
  v1::ListTenantsRequest request;
  do {
    v1::ListTenantsResponse page;
    RETURN_IF_ERROR(server.Call(&v1::Admin::Stub::ListTenants, request, page));
    for (const v1::Tenant& tenant : page.tenants()) {
      tenants.push_back({{"tenant", tenant.name()},
                         {"host_bytes", tenant.host_bytes()},
                         {"host_quota_bytes", Quota(tenant.host_quota_bytes())},
                         {"rocksdb_bytes", tenant.rocksdb_bytes()},
                         {"rocksdb_quota_bytes", Quota(tenant.rocksdb_quota_bytes())}});
    }
    request.set_cursor(page.next_cursor());
  } while (!request.cursor().empty());
  return absl::OkStatus();
}

absl::Status AskStatus(AdminClient& server, Json& answer) {
  const v1::StatusResponse& status = server.status();
  answer["version"] = status.version();
  answer["epoch"] = absl::StrCat(absl::Hex(status.epoch(), absl::kZeroPad16));
  answer["uptime_ms"] = status.uptime_ms();
  answer["ready"] = status.ready();
  answer["draining"] = status.draining();
  answer["degraded"] = status.degraded();
  answer["sessions"] = status.sessions();
  answer["blocks"] = status.blocks();
  answer["inflight_bytes"] = status.inflight_bytes();
  for (const v1::TierStatus& tier : status.tiers()) {
    answer["tiers"][tier.name()] = {{"bytes", tier.bytes()},
                                    {"capacity_bytes", tier.capacity_bytes()},
                                    {"extents", {{"kv", tier.kv_extents()}, {"e", tier.e_extents()}}}};
  }
  return AskTenants(server, answer["tenants"]);
}

std::string State(const Json& server) {
  if (server["draining"]) return "draining";
  if (!server["ready"]) return "not ready";
  const std::string degraded = server["degraded"];
  return degraded.empty() ? "ready" : absl::StrCat("degraded: ", degraded);
}

std::string Use(uint64_t bytes, const Json& most) {
  if (most.is_null()) return FormatBytes(bytes);
  if (most == 0) return "-";
  return absl::StrCat(FormatBytes(bytes), " of ", FormatBytes(most));
}

std::vector<std::vector<std::string>> ServerRows(const Json& servers) {
  std::vector<std::vector<std::string>> rows;
  for (const Json& server : servers) {
    const auto uptime = absl::Trunc(absl::Milliseconds(server["uptime_ms"].get<int64_t>()), absl::Seconds(1));
    const Json& host = server["tiers"]["host"];
    const Json& disk = server["tiers"]["rocksdb"];
    rows.push_back({server["server"], server["version"], absl::FormatDuration(uptime), server["sessions"].dump(),
                    server["blocks"].dump(), Use(host["bytes"], host["capacity_bytes"]),
                    Use(disk["bytes"], disk["capacity_bytes"]), FormatBytes(server["inflight_bytes"]), State(server)});
  }
  return rows;
}

std::vector<std::vector<std::string>> TenantRows(const Json& servers) {
  std::vector<std::vector<std::string>> rows;
  for (const Json& server : servers) {
    for (const Json& tenant : server["tenants"]) {
      rows.push_back({server["server"], tenant["tenant"], Use(tenant["host_bytes"], tenant["host_quota_bytes"]),
                      Use(tenant["rocksdb_bytes"], tenant["rocksdb_quota_bytes"])});
    }
  }
  return rows;
}

}  // namespace

Command AddStatusCommand(CLI::App& app) {
  CLI::App* const command = app.add_subcommand("status", "How each server is: load, tiers, tenants and their quotas");
  return {command, [](const Settings& settings) {
            return AskEach(settings, AskStatus,
                           {{{"server", "version", "up", "sessions", "blocks", "host", "rocksdb", "in flight", "state"},
                             ServerRows},
                            {{"server", "tenant", "host", "rocksdb"}, TenantRows}});
          }};
}

}  // namespace droidspeak::ctl
