// SPDX-License-Identifier: Apache-2.0
// droidspeak-soak [--seconds N] [--transport NAME]: finds what a server with a small pool and a spill folder can do,
// then asks it for 80 % of that for N seconds, and looks whether its memory, descriptors or latencies grow. Exit code 1
// when they do, when a byte was wrong, or when the server does not end cleanly.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "tests/soak/load.h"
#include "tests/soak/watch.h"
#include "tests/support/server_process.h"

namespace droidspeak::soak {
namespace {

constexpr int kClients = 2;
constexpr int kWindows = 30;
constexpr double kShareOfPeak = 0.8;
// In windows of a few seconds, on a machine that does other things as well, latencies say little: they must only not
// pile up. From this length on they must stay what they are.
constexpr double kLongRunSeconds = 600;

class Soak {
 public:
  Soak(ServerProcess& server, double seconds) : server_(server), seconds_(seconds) {}

  absl::Status Connect(const std::string& transport) {
    for (int i = 0; i < kClients; ++i) {
      absl::StatusOr<std::unique_ptr<Load>> load = Load::Create(server_.listen(), transport, i + 1);
      if (!load.ok()) return load.status();
      loads_.push_back(*std::move(load));
    }
    loads_.front()->Prepare();
    return absl::OkStatus();
  }

  // Whether nothing grew and nothing was wrong.
  bool Run() {
    const double settling = std::clamp(seconds_ / 12, 2.0, 60.0);
    Drive(settling, 0);  // until the pool and the disk are as full as they get
    Take();
    const double peak = Drive(settling, 0) / settling;
    Take();
    std::printf("peak %.0f operations/s (4 MiB each); %.0f %% of it for %.0f s\n", peak, 100 * kShareOfPeak, seconds_);
    std::fflush(stdout);
    std::vector<Window> windows;
    for (int i = 0; i < kWindows; ++i) {
      Drive(seconds_ / kWindows, kShareOfPeak * peak / kClients);
      windows.push_back(Look(server_.pid(), seconds_ * (i + 1) / kWindows, Take()));
    }
    const bool steady = seconds_ >= kLongRunSeconds ? Report(windows, 1.5, 5) : Report(windows, 4, 3000);
    std::printf("\n%llu wrong, %llu refused\n", static_cast<unsigned long long>(wrong_),
                static_cast<unsigned long long>(failed_));
    return steady && wrong_ == 0 && failed_ == 0;
  }

 private:
  // Returns the number of operations.
  double Drive(double seconds, double operations_per_second_each) {
    const absl::Time end = absl::Now() + absl::Seconds(seconds);
    std::vector<std::jthread> threads;
    for (const auto& load : loads_) {
      threads.emplace_back([&load, end, operations_per_second_each] { load->Run(end, operations_per_second_each); });
    }
    threads.clear();
    double operations = 0;
    for (const auto& load : loads_) {
      tallies_.push_back(load->TakeTally());
      operations += static_cast<double>(tallies_.back().milliseconds.size());
    }
    return operations;
  }
  std::vector<Tally> Take() {
    for (const Tally& tally : tallies_) {
      wrong_ += tally.wrong;
      failed_ += tally.failed;
    }
    return std::exchange(tallies_, {});
  }

  ServerProcess& server_;
  const double seconds_;
  std::vector<std::unique_ptr<Load>> loads_;
  std::vector<Tally> tallies_;
  uint64_t wrong_ = 0;
  uint64_t failed_ = 0;
};

int Main(double seconds, const std::string& transport) {
  const TemporaryFolder folder;
  auto server = ServerProcess::Start("soak", {"--host-pool=160MiB", "--spill=" + folder.path() + "/spill",
                                              "--spill-limit=512MiB", "--transport=" + transport});
  if (!server.ok()) {
    std::fprintf(stderr, "soak: %s\n", server.status().ToString().c_str());
    return 1;
  }
  bool good = false;
  {
    Soak soak(**server, seconds);
    const absl::Status connected = soak.Connect(transport);
    if (!connected.ok()) {
      std::fprintf(stderr, "soak: %s\n", connected.ToString().c_str());
      return 1;
    }
    good = soak.Run();
  }
  const int ended = (*server)->Terminate();
  if (ended != 0) std::fprintf(stderr, "soak: the server ended with %d\n", ended);
  return good && ended == 0 ? 0 : 1;
}

}  // namespace
}  // namespace droidspeak::soak

int main(int argc, char** argv) {
  double seconds = 60;
  std::string transport = "tcp";
  for (int i = 1; i + 1 < argc; i += 2) {
    if (std::strcmp(argv[i], "--seconds") == 0) seconds = std::atof(argv[i + 1]);
    if (std::strcmp(argv[i], "--transport") == 0) transport = argv[i + 1];
  }
  if (argc % 2 == 0 || seconds <= 0) {
    std::fprintf(stderr, "usage: droidspeak-soak [--seconds N] [--transport tcp|local|ucx]\n");
    return 2;
  }
  return droidspeak::soak::Main(seconds, transport);
}
