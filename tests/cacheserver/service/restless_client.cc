// SPDX-License-Identifier: Apache-2.0
// restless_client LISTEN TRANSPORT SEED: stores and fetches chains of the tests' namespace until it is killed. Writes a
// byte to standard output after each step, so that whoever kills it can choose when.
#include "tests/cacheserver/service/restless_client.h"

#include <unistd.h>

#include <cstdlib>
#include <numeric>
#include <random>

#include "absl/time/clock.h"
#include "common/key/digest.h"
#include "droidspeak/client.h"
#include "tests/cacheserver/service/service_fixture.h"

namespace droidspeak {
namespace {

constexpr absl::Duration kPatience = absl::Seconds(60);

void Step() {
  const char step = '.';
  if (write(STDOUT_FILENO, &step, 1) != 1) _exit(3);
}

class RestlessClient {
 public:
  RestlessClient(Client& client, uint64_t seed) : client_(client), random_(seed) {
    ns_ = client_.OpenNamespace(Sha256Of("weights"), nullptr, Layout::Parse(kSmallLayout).value()).value();
    region_ = client_.AllocateRegion(restless::kBlocks * ns_.layout.kv_bytes() * ns_.layout.layers).value();
    slots_.resize(restless::kBlocks);
    std::iota(slots_.begin(), slots_.end(), 0);
  }

  void Run() {
    while (true) {
      const auto seed = static_cast<uint32_t>(random_() % restless::kChains);
      const std::vector<uint32_t> tokens(restless::kBlocks * ns_.layout.block_tokens, seed);
      hashes_ = BlockHashes(ns_.bytes, tokens, ns_.layout.block_tokens);
      random_() % 2 == 0 ? Store() : Fetch();
    }
  }

 private:
  TransferItem Item(int layer) const {
    const uint64_t base = layer * restless::kBlocks * ns_.layout.kv_bytes();
    return {Kind::kKv, layer, region_.get(), base, base + ns_.layout.k_bytes(), ns_.layout.kv_bytes()};
  }

  void Store() {
    const uint64_t bytes = ns_.layout.kv_bytes();
    for (int layer = 0; layer < static_cast<int>(ns_.layout.layers); ++layer) {
      for (size_t i = 0; i < hashes_.size(); ++i) {
        const auto contents = ExtentContents(hashes_[i], {Kind::kKv, static_cast<uint16_t>(layer)}, bytes);
        std::copy(contents.begin(), contents.end(), region_->data() + (layer * hashes_.size() + i) * bytes);
      }
    }
    StoreOptions options;
    options.blocks = hashes_;
    options.parent = ns_.bytes;
    options.kv[0] = (uint64_t{1} << ns_.layout.layers) - 1;
    const auto store = client_.StartStore(ns_, options).value();
    Step();
    const std::vector<int> blocks(slots_.begin(), slots_.end());
    for (int layer = 0; layer < static_cast<int>(ns_.layout.layers); ++layer) {
      (void)store->Fill({Item(layer)}, blocks, slots_);
      Step();
    }
    (void)store->WaitFilled(absl::Now() + kPatience);
    Step();
    if (random_() % 2 == 0) (void)store->Seal(/*durable=*/false, absl::Now() + kPatience);
  }

  void Fetch() {
    FetchOptions options;
    for (int layer = 0; layer < static_cast<int>(ns_.layout.layers); ++layer) options.items.push_back(Item(layer));
    options.blocks = hashes_;
    options.slots = slots_;
    const auto fetch = client_.StartFetch(ns_, options).value();
    Step();
    for (int layer = 0; layer < static_cast<int>(ns_.layout.layers); ++layer) {
      (void)fetch->Wait(layer, restless::kBlocks, absl::Now() + kPatience);
      Step();
    }
  }

  Client& client_;
  std::mt19937_64 random_;
  NamespaceHandle ns_;
  std::unique_ptr<Region> region_;
  std::vector<uint32_t> slots_;
  std::vector<Digest> hashes_;
};

}  // namespace
}  // namespace droidspeak

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  droidspeak::ClientOptions options;
  options.servers = {{"", argv[1]}};
  options.transport = argv[2];
  options.connect_timeout = droidspeak::kLimit;
  const auto client = droidspeak::Client::Connect(options);
  if (!client.ok()) return 1;
  droidspeak::RestlessClient(**client, std::strtoull(argv[3], nullptr, 10)).Run();
}
