// SPDX-License-Identifier: Apache-2.0
// Health and metrics over HTTP.
#include <gmock/gmock.h>

#include "cacheserver/admin/admin_server.h"
#include "tests/cacheserver/service/service_fixture.h"

namespace droidspeak {
namespace {

using testing::HasSubstr;

TEST(AdminServerTest, ReadinessFollowsTheServer) {
  Metrics metrics;
  Readiness now;
  const auto server = StartAdminServer({"127.0.0.1", 0}, metrics, [&now] { return now; });
  ASSERT_TRUE(server.ok()) << server.status();
  const std::string address = (*server)->address().ToString();
  EXPECT_EQ(HttpGet(address, "/livez"), "ok\n");
  EXPECT_EQ(HttpGet(address, "/readyz"), "not ready\n");
  now = {true, ""};
  EXPECT_EQ(HttpGet(address, "/readyz"), "ok\n");
  now = {true, "disk full"};
  EXPECT_EQ(HttpGet(address, "/readyz"), "degraded: disk full\n");
}

class MetricsTest : public ServiceTest {};

TEST_P(MetricsTest, AllNamesOfTheContractAreThereAndCount) {
  StartServer();
  ConnectClient();
  const std::vector<Digest> blocks = Chain(2);
  Store(*client_, blocks, {{Kind::kKv, 0}, {Kind::kE, 1}});
  FetchAndCheck(*client_, MakeFetch(next_request_++, blocks, {{Kind::kE, 1}, {Kind::kKv, 0}}));
  client_->Send(wire::CoverageRequest{next_request_++, 0, {{space_.id, Chain(3)}}});
  client_->Expect<wire::CoverageAnswer>();
  client_->Send(wire::CoverageRequest{next_request_++, 0, {{99, blocks}}});
  client_->Expect<wire::StatusAnswer>();

  // 2 blocks of 32 KiB a kind.
  for (const char* line : {
           R"(droidspeak_cache_extents{kind="kv",tier="host"} 2)",
           R"(droidspeak_cache_extents{kind="e",tier="rocksdb"} 0)",
           R"(droidspeak_cache_bytes{tier="host"} 131072)",
           R"(droidspeak_cache_capacity_bytes{tier="gpu"} 0)",
           R"(droidspeak_fetch_bytes_total{kind="kv",tier="host",transport="local"} 65536)",
           R"(droidspeak_fetch_bytes_total{kind="e",tier="host",transport="local"} 65536)",
           R"(droidspeak_fetch_bytes_total{kind="e",tier="rocksdb",transport="ucx"} 0)",
           R"(droidspeak_fetch_duration_seconds_count 1)",
           R"(droidspeak_store_bytes_total 131072)",
           R"(droidspeak_store_duration_seconds_count 1)",
           R"(droidspeak_coverage_blocks_total{result="hit"} 2)",
           R"(droidspeak_coverage_blocks_total{result="miss"} 1)",
           R"(droidspeak_evictions_total{from="host",to="gone"} 0)",
           R"(droidspeak_evictions_total{from="host",to="rocksdb"} 0)",
           R"(droidspeak_evictions_total{from="rocksdb",to="gone"} 0)",
           R"(droidspeak_checksum_errors_total{where="fill"} 0)",
           R"(droidspeak_checksum_errors_total{where="rocksdb"} 0)",
           R"(droidspeak_sessions 1)",
           R"(droidspeak_rejected_total{reason="not_found"} 1)",
           R"(droidspeak_inflight_bytes 0)",
       }) {
    EXPECT_THAT(HttpGet(server_->addresses().admin, "/metrics"), HasSubstr(std::string(line) + "\n"));
  }
}

INSTANTIATE_TEST_SUITE_P(Transports, MetricsTest, testing::Values("local"), TransportName);

}  // namespace
}  // namespace droidspeak
