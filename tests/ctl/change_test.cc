// SPDX-License-Identifier: Apache-2.0
// The verbs that change something: pin, unpin, purge, drain.
#include <gmock/gmock.h>

#include "absl/time/clock.h"
#include "common/key/model_digest.h"
#include "tests/ctl/ctl_fixture.h"

namespace droidspeak {
namespace {

using nlohmann::json;
using testing::HasSubstr;

class CtlChange : public CtlTest {
 protected:
  void Start() { StartServer("a", {"--spill=" + folder_.path() + "/spill"}); }
  // Ends the server and starts it anew on what it has left.
  void Restart() {
    EXPECT_EQ(servers_[0]->Terminate(), 0);
    servers_.clear();
    addresses_.clear();
    Start();
  }
  uint64_t Pinned() { return Total("pinned_blocks"); }
  uint64_t Blocks() { return Total("blocks"); }

 private:
  uint64_t Total(const char* field) {
    uint64_t total = 0;
    const json servers = CtlJson("namespaces");
    for (const json& space : servers[0]["namespaces"]) total += space[field].get<uint64_t>();
    return total;
  }
};

TEST_F(CtlChange, PinsSurviveARestartUntilUnpin) {
  Start();
  Fill(6);
  const std::string some = blocks_[0].Hex() + "," + blocks_[1].Hex() + "," + std::string(64, 'e');
  const json pinned = CtlJson("pin --namespace " + space() + " --blocks " + some)[0];
  EXPECT_EQ(pinned["changed"], 2) << "the third is not there";
  EXPECT_EQ(pinned["persistent"], true);
  EXPECT_EQ(CtlJson("pin --namespace " + space() + " --blocks " + some)[0]["changed"], 0);
  Restart();
  EXPECT_EQ(Pinned(), 2);
  const json block = CtlJson("coverage --namespace " + space() + " --blocks " + blocks_[1].Hex())[0]["blocks"][0];
  EXPECT_EQ(block["operator_pin"], true);
  EXPECT_EQ(block["pins"], 1);
  EXPECT_EQ(CtlJson("unpin --all --namespace " + space())[0]["changed"], 2);
  Restart();
  EXPECT_EQ(Pinned(), 0);
  EXPECT_EQ(Blocks(), 6);
}

TEST_F(CtlChange, PinsOfAllWithoutASpillFolderSayHowLongTheyLast) {
  StartServer("a");
  Fill(3);
  const Outcome outcome = Ctl("pin --all --namespace " + space());
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("server's end"));
  EXPECT_EQ(Pinned(), 3);
}

TEST_F(CtlChange, MorePinsThanATenthAreRefusedAndChangeNothing) {
  StartServer("a", {"--quota=default host-pool=8MiB"});
  Fill(40);  // 72 KiB each
  const Outcome all = Ctl("pin --all --namespace " + space());
  EXPECT_EQ(all.exit_code, 1);
  EXPECT_THAT(all.err, HasSubstr("would be pinned"));
  const Outcome named = Ctl("pin --namespace " + space() + " --blocks " + hashes());
  EXPECT_EQ(named.exit_code, 1);
  EXPECT_THAT(named.err, HasSubstr("tenant default"));
  EXPECT_EQ(Pinned(), 0);
}

TEST_F(CtlChange, PurgeByModelAfterARestartLeavesOtherModels) {
  Start();
  Fill(4, 0, 1);
  Fill(5, 0, 2);
  ASSERT_EQ(CtlJson("pin --namespace " + space() + " --blocks " + blocks_[0].Hex())[0]["changed"], 1);
  Restart();
  Digest weights;
  weights.bytes.fill(2);
  const std::string model = ModelDigest(weights, std::nullopt).Hex();
  const json purged = CtlJson("purge --yes --model " + model)[0];
  EXPECT_EQ(purged["namespaces"], 1);
  EXPECT_EQ(purged["blocks"], 5) << "the pinned one too";
  EXPECT_EQ(Blocks(), 4);
  // What was answered is on disk: not even a crash brings it back.
  servers_[0]->Kill();
  servers_.clear();
  addresses_.clear();
  Start();
  EXPECT_EQ(Blocks(), 4);
  EXPECT_EQ(CtlJson("purge --yes --tenant default")[0]["blocks"], 4);
  EXPECT_EQ(CtlJson("status")[0]["blocks"], 0);
}

TEST_F(CtlChange, PurgeOfANamespaceIsAMissForReadersThen) {
  StartServer("a");
  Fill(4);
  EXPECT_EQ(CtlJson("purge --yes --namespace " + space())[0]["blocks"], 4);
  const auto client = Connect();
  std::vector<std::byte> kv(4 * layout_.kv_bytes());
  EXPECT_EQ(*client->FetchKv(Open(*client), Tokens(layout_, 4), 0, absl::MakeSpan(kv)), 0);
}

TEST_F(CtlChange, DrainedServerServesWhatIsOpenAndNothingNewUntilUndo) {
  StartServer("a");
  Fill(4);
  const auto before = Connect();
  const NamespaceHandle ns = Open(*before);
  EXPECT_EQ(CtlJson("drain")[0]["draining"], true);
  const json drained = CtlJson("status")[0];
  EXPECT_EQ(drained["draining"], true);
  EXPECT_EQ(drained["ready"], false);
  EXPECT_THAT(Ctl("status").out, HasSubstr("draining"));

  ClientOptions options;
  options.servers = addresses_;
  const auto refused = Client::Connect(options);
  EXPECT_TRUE(absl::IsUnavailable(refused.status())) << refused.status();
  EXPECT_THAT(std::string(refused.status().message()), HasSubstr("drained"));
  std::vector<std::byte> kv(4 * layout_.kv_bytes());
  EXPECT_EQ(*before->FetchKv(ns, Tokens(layout_, 4), 0, absl::MakeSpan(kv)), 4) << "open sessions still fetch";
  const std::vector<uint32_t> more = Tokens(layout_, 4, 9);
  (void)before->StoreKv(ns, more, 0, Stored(Kind::kKv, 0, 4));
  EXPECT_EQ(CtlJson("status")[0]["blocks"], 4) << "nothing new is taken";
  EXPECT_EQ(Ctl("verify").exit_code, 1);

  EXPECT_EQ(CtlJson("drain --undo")[0]["draining"], false);
  EXPECT_EQ(CtlJson("status")[0]["ready"], true);
  const absl::Status stored = before->StoreKv(ns, more, 0, Stored(Kind::kKv, 0, 4));
  EXPECT_TRUE(stored.ok()) << stored;
  EXPECT_EQ(CtlJson("status")[0]["blocks"], 8);
  EXPECT_EQ(Ctl("verify").exit_code, 0);
}

}  // namespace
}  // namespace droidspeak
