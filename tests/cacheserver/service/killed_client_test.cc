// SPDX-License-Identifier: Apache-2.0
// Processes that are killed while they fill and fetch: the server gets everything back.
#include <dirent.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <random>

#include "absl/strings/str_cat.h"
#include "tests/cacheserver/service/restless_client.h"
#include "tests/cacheserver/service/service_fixture.h"
#include "tests/support/count.h"

extern char** environ;

namespace droidspeak {
namespace {

const std::vector<Extent> kAllKv = {{Kind::kKv, 0}, {Kind::kKv, 1}, {Kind::kKv, 2}, {Kind::kKv, 3}};
constexpr char kHostBytes[] = R"(droidspeak_cache_bytes{tier="host"})";

// Memory files mapped by this process: the server's of its clients are among them.
int MappedMemfds() {
  std::ifstream maps("/proc/self/maps");
  int count = 0;
  for (std::string line; std::getline(maps, line);) count += line.find("memfd:") != std::string::npos ? 1 : 0;
  return count;
}

int OpenDescriptors() {
  DIR* const folder = opendir("/proc/self/fd");
  int count = 0;
  while (readdir(folder) != nullptr) ++count;
  closedir(folder);
  return count;
}

class KilledClientTest : public ServiceTest {
 protected:
  void SetUp() override {
    options_.lease = absl::Seconds(5);
    ASSERT_NO_FATAL_FAILURE(StartServer());
    ConnectClient(16 << 20);
  }

  // Starts a client, lets it do `steps` steps and `more_us`, kills it.
  void KillOne(uint64_t seed, int steps, int more_us) {
    int out[2];
    ASSERT_EQ(pipe2(out, O_CLOEXEC), 0);
    const std::string& listen = server_->addresses().listen;
    const std::string number = absl::StrCat(seed);
    const char* const argv[] = {RESTLESS_CLIENT, listen.c_str(), GetParam().c_str(), number.c_str(), nullptr};
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, out[1], STDOUT_FILENO);
    pid_t pid = -1;
    ASSERT_EQ(posix_spawn(&pid, argv[0], &actions, nullptr, const_cast<char* const*>(argv), environ), 0);
    posix_spawn_file_actions_destroy(&actions);
    close(out[1]);
    char byte = 0;
    for (int i = 0; i < steps; ++i) {
      pollfd fd = {out[0], POLLIN, 0};
      ASSERT_EQ(poll(&fd, 1, 60'000), 1) << "the client does nothing any more";
      ASSERT_EQ(read(out[0], &byte, 1), 1) << "the client ended by itself";
    }
    const absl::Time until = absl::Now() + absl::Microseconds(more_us);
    while (absl::Now() < until) {
    }
    kill(pid, SIGKILL);
    close(out[0]);
    int status = 0;
    ASSERT_EQ(waitpid(pid, &status, 0), pid);
    ASSERT_TRUE(WIFSIGNALED(status));
  }

  // Of each chain of the dead, nothing is being filled, what is there is right, and the rest can be filled.
  void TakeOver() {
    for (uint32_t seed = 0; seed < restless::kChains; ++seed) {
      const std::vector<Digest> blocks = Chain(restless::kBlocks, seed);
      const absl::Time deadline = absl::Now() + kLimit;
      bool busy = true;
      while (busy && absl::Now() < deadline) {  // the server hears of a death when it looks at the connection
        busy = false;
        const uint64_t id = next_request_++;
        for (const wire::BlockOffer& block : Offer(*client_, id, blocks, kAllKv).blocks) busy |= block.busy_kv[0] != 0;
        client_->Send(wire::CancelRequest{id});
        client_->Expect<wire::Cancelled>();
      }
      ASSERT_FALSE(busy) << "chain " << seed << " is still being filled";
      const uint64_t offer = next_request_++;
      Offer(*client_, offer, blocks, kAllKv);
      client_->Send(MakeFill(*client_, next_request_++, offer, blocks, kAllKv));
      const auto filled = client_->Expect<wire::Filled>();
      ASSERT_EQ(filled.code, 0u) << filled.text;
      client_->Send(wire::SealRequest{next_request_++, offer, false});
      ASSERT_EQ(client_->Expect<wire::Sealed>().code, 0u);
      FetchAndCheck(*client_, MakeFetch(next_request_++, blocks, kAllKv));
      ASSERT_FALSE(HasFailure()) << "chain " << seed;
      ASSERT_TRUE(RawHeartbeat(server_->addresses().listen, session_).ok());
    }
  }
  void Remove(const std::vector<Digest>& blocks) {
    client_->Send(wire::ActionRequest{next_request_++, space_.id, wire::BlockAction::kRemove, blocks});
    ASSERT_EQ(client_->Expect<wire::StatusAnswer>().code, 0u);
  }
  // What fits into the pool when nothing else is there.
  double RoomBytes() {
    constexpr uint32_t kFirst = 1000;
    constexpr uint32_t kMany = 40;  // 120 MiB into 64
    for (uint32_t seed = kFirst; seed < kFirst + kMany; ++seed) Store(*client_, Chain(restless::kBlocks, seed), kAllKv);
    const double room = Metric(kHostBytes);
    for (uint32_t seed = kFirst; seed < kFirst + kMany; ++seed) Remove(Chain(restless::kBlocks, seed));
    EXPECT_TRUE(WaitForMetric(absl::StrCat(kHostBytes, " 0")));
    return room;
  }
};

TEST_P(KilledClientTest, EverythingComesBackAndTheNextFillsTheRest) {
  const int kills = GetParam() == "local" ? Count(34, 340) : Count(33, 330);
  const uint64_t seed = Seed();
  std::mt19937_64 random(seed);
  const double room = RoomBytes();
  EXPECT_GT(room, 32 << 20);
  const int memfds = MappedMemfds();
  const int descriptors = OpenDescriptors();
  for (int i = 0; i < kills; ++i) {
    SCOPED_TRACE(testing::Message() << "kill " << i << " of seed " << seed);
    const int steps = 1 + static_cast<int>(random() % 24);
    KillOne(random(), steps, static_cast<int>(random() % 3000));
    ASSERT_TRUE(RawHeartbeat(server_->addresses().listen, session_).ok());
    if (i % 8 == 7) TakeOver();
    if (HasFailure()) return;
  }
  TakeOver();
  ASSERT_FALSE(HasFailure());
  EXPECT_TRUE(WaitForMetric("droidspeak_inflight_bytes 0"));
  for (uint32_t chain = 0; chain < restless::kChains; ++chain) Remove(Chain(restless::kBlocks, chain));
  EXPECT_TRUE(WaitForMetric(absl::StrCat(kHostBytes, " 0")));
  EXPECT_EQ(RoomBytes(), room) << "some of the pool is lost";
  const absl::Time deadline = absl::Now() + kLimit;
  while (Metric("droidspeak_sessions") > 1 && absl::Now() < deadline) {
    ASSERT_TRUE(RawHeartbeat(server_->addresses().listen, session_).ok());
  }
  EXPECT_EQ(Metric("droidspeak_sessions"), 1);
  EXPECT_EQ(MappedMemfds(), memfds) << "memory of dead clients is still mapped";
  while (OpenDescriptors() > descriptors && absl::Now() < deadline) Metric("droidspeak_sessions");
  EXPECT_LE(OpenDescriptors(), descriptors);
}

INSTANTIATE_TEST_SUITE_P(Transports, KilledClientTest, testing::Values("local", "tcp", "ucx"), TransportName);

}  // namespace
}  // namespace droidspeak
