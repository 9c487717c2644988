// SPDX-License-Identifier: Apache-2.0
// The verbs that look: status, namespaces, blocks, coverage, verify.
#include <gmock/gmock.h>

#include <set>

#include "common/key/model_digest.h"
#include "tests/ctl/ctl_fixture.h"

namespace droidspeak {
namespace {

using nlohmann::json;
using testing::HasSubstr;

TEST_F(CtlTest, StatusShowsTiersTenantsAndQuotas) {
  StartServer("a", {"--quota=default host-pool=32MiB", "--spill=" + folder_.path() + "/spill"});
  Fill(3);
  const json status = CtlJson("status")[0];
  EXPECT_EQ(status["server"], "a");
  EXPECT_EQ(status["address"], addresses_[0].host_port);
  EXPECT_EQ(status["ready"], true);
  EXPECT_EQ(status["draining"], false);
  EXPECT_EQ(status["degraded"], "");
  EXPECT_EQ(status["blocks"], 3);
  EXPECT_EQ(status["sessions"], 0);
  const uint64_t bytes = 3 * (4 * layout_.kv_bytes() + layout_.e_bytes());
  EXPECT_EQ(status["tiers"]["host"]["bytes"], bytes);
  EXPECT_EQ(status["tiers"]["host"]["extents"], (json{{"kv", 12}, {"e", 3}}));
  EXPECT_GT(status["tiers"]["rocksdb"]["capacity_bytes"], 0);
  ASSERT_EQ(status["tenants"].size(), 1);
  EXPECT_EQ(status["tenants"][0]["tenant"], "default");
  EXPECT_EQ(status["tenants"][0]["host_bytes"], bytes);
  EXPECT_EQ(status["tenants"][0]["host_quota_bytes"], 32 << 20);
  EXPECT_TRUE(status["tenants"][0]["rocksdb_quota_bytes"].is_null());
  const Outcome table = Ctl("status");
  EXPECT_THAT(table.out, HasSubstr("of 32.0 MiB"));
  EXPECT_THAT(table.out, HasSubstr("ready"));
}

TEST_F(CtlTest, NamespacesNameTenantModelAndUse) {
  StartServer("a");
  Fill(2, 0, 1);
  Fill(3, 0, 2);
  const json spaces = CtlJson("namespaces")[0]["namespaces"];
  ASSERT_EQ(spaces.size(), 2);
  Digest weights;
  weights.bytes.fill(2);
  const json& second = spaces[1];
  EXPECT_EQ(second["namespace"], space());
  EXPECT_EQ(second["tenant"], "default");
  EXPECT_EQ(second["model"], ModelDigest(weights, std::nullopt).Hex());
  EXPECT_EQ(second["layout"], layout_.ToString());
  EXPECT_EQ(second["blocks"], 3);
  EXPECT_EQ(second["host_bytes"], 3 * (4 * layout_.kv_bytes() + layout_.e_bytes()));
  EXPECT_THAT(Ctl("namespaces").out, HasSubstr(space()));
}

TEST_F(CtlTest, BlocksShowLayersAndTheLimitCuts) {
  StartServer("a", {"--default-ttl=1h"});
  Fill(450);
  const json answer = CtlJson("blocks --limit 1000 --namespace " + space())[0];
  EXPECT_EQ(answer["more"], false);
  ASSERT_EQ(answer["blocks"].size(), 450);
  for (size_t i = 0; i < 450; ++i) {
    const json& block = answer["blocks"][i];
    ASSERT_EQ(block["hash"], blocks_[i].Hex()) << "in the order of their positions";
    EXPECT_EQ(block["position"], i);
    EXPECT_EQ(block["kv"], (json{{"ready", {0, 1, 2, 3}}, {"host", {0, 1, 2, 3}}, {"rocksdb", json::array()}}));
    EXPECT_EQ(block["e"]["ready"], json::array({1}));
    EXPECT_EQ(block["pins"], 0);
    EXPECT_GT(block["expires_unix_s"], 1'700'000'000);
  }
  const json few = CtlJson("blocks --limit 20 --namespace " + space())[0];
  EXPECT_EQ(few["blocks"].size(), 20);
  EXPECT_EQ(few["more"], true);
  EXPECT_THAT(Ctl("blocks --limit 20 --namespace " + space()).out, HasSubstr("--limit"));
}

TEST_F(CtlTest, CoverageOverTwoServersFindsEachBlockOnOne) {
  StartServer("a");
  StartServer("b");
  Fill(64);
  const std::string unknown(64, 'e');
  const json servers = CtlJson("coverage --namespace " + space() + " --blocks " + hashes() + "," + unknown);
  size_t on_a = 0;
  for (size_t i = 0; i < 64; ++i) {
    const bool a = !servers[0]["blocks"][i].contains("missing");
    EXPECT_NE(a, !servers[1]["blocks"][i].contains("missing")) << "block " << i << " has one home";
    EXPECT_EQ(servers[a ? 0 : 1]["blocks"][i]["kv"]["ready"], json::array({0, 1, 2, 3}));
    on_a += a ? 1 : 0;
  }
  EXPECT_EQ(on_a % 16, 0) << "stripes stay together";
  EXPECT_TRUE(servers[0]["blocks"][64]["missing"]);
  const Outcome table = Ctl("coverage --namespace " + space() + " --blocks " + blocks_[0].Hex() + "," + unknown);
  EXPECT_EQ(table.exit_code, 0);
  EXPECT_THAT(table.out, HasSubstr("0-3"));
  EXPECT_THAT(table.out, HasSubstr(unknown + "  none"));
}

TEST_F(CtlTest, VerifyLeavesNothingBehindAndSaysTheTransport) {
  StartServer("a");
  StartServer("b", {"--transport=tcp"});
  const json servers = CtlJson("verify");
  EXPECT_EQ(servers[0]["transport"], "local");
  EXPECT_EQ(servers[1]["transport"], "tcp");
  for (const json& server : servers) {
    EXPECT_EQ(server["bytes"], 8 * 4 * (32 + 32) * 1024);
    EXPECT_NE(server["reason"], "");
    for (const char* step : {"store", "coverage", "fetch", "remove"}) EXPECT_GT(server["milliseconds"][step], 0);
  }
  EXPECT_EQ(CtlJson("verify --transport tcp")[0]["transport"], "tcp");
  for (const json& server : CtlJson("status")) EXPECT_EQ(server["blocks"], 0);
  EXPECT_EQ(CtlJson("namespaces")[0]["namespaces"].size(), 1) << "one for all verifications";
  const Outcome refused = Ctl("verify --transport local");
  EXPECT_EQ(refused.exit_code, 1) << "b has no local transport";
  EXPECT_THAT(refused.err, HasSubstr(addresses_[1].host_port));
  EXPECT_THAT(refused.out, HasSubstr("ok"));
}

}  // namespace
}  // namespace droidspeak
