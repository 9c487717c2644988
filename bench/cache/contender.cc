// SPDX-License-Identifier: Apache-2.0
#include "bench/cache/contender.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <condition_variable>
#include <iostream>
#include <latch>
#include <mutex>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "bench/cache/command.h"
#include "common/base/status.h"

namespace droidspeak::bench {
namespace {

const CacheShape kShape{8, 8, 1 << 20};
constexpr int kFetchers = 4;
constexpr int kStorers = 2;
constexpr std::chrono::milliseconds kRuns{2};
constexpr std::chrono::milliseconds kRests{18};

struct ContenderOptions : CacheOptions {
  bool slow = false;
};

// Lets the process run a tenth of the time: what is sent to it meanwhile waits in the server or the kernel.
void Brake(const SelfProcess& process, const std::stop_token& stop) {
  std::mutex mutex;
  std::condition_variable_any wake;
  std::unique_lock lock(mutex);
  while (!stop.stop_requested()) {
    process.Signal(SIGSTOP);
    wake.wait_for(lock, stop, kRests, [] { return false; });
    process.Signal(SIGCONT);
    wake.wait_for(lock, stop, kRuns, [] { return false; });
  }
}

absl::Status FetchOnAndOn(Client& client, bool prefetch, std::latch& under_way) {
  ASSIGN_OR_RETURN(const auto load, CacheLoad::Create(client, kShape));
  for (bool first = true;; first = false) {
    absl::Status fetched = load->Fetch(prefetch).status();
    if (absl::IsDataLoss(fetched)) fetched = load->Store().status();  // at first, and when it was evicted
    RETURN_IF_ERROR(fetched);
    if (first) under_way.count_down();
  }
}

absl::Status StoreOnAndOn(Client& client, std::latch& under_way) {
  ASSIGN_OR_RETURN(const auto load, CacheLoad::Create(client, kShape));
  for (bool first = true;; first = false) {
    RETURN_IF_ERROR(load->StoreNext().status());
    if (first) under_way.count_down();
  }
}

int Exit(const absl::Status& why) {
  std::cerr << "cache contender: " << why << "\n";
  ::_exit(kExitFailed);  // its other threads are in the middle of something
}

int RunContender(const ContenderOptions& options) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  // What is measured is how the server divides itself: the processor time of other clients is that of their hosts.
  ::setpriority(PRIO_PROCESS, 0, 19);
  const auto site = CacheSite::Open(options, 0);
  if (!site.ok()) return Exit(site.status());
  const auto client = (*site)->Connect(/*verify_checksums=*/false);
  if (!client.ok()) return Exit(client.status());
  const int storers = options.slow ? 0 : kStorers;
  std::latch under_way(kFetchers + storers);
  std::vector<std::jthread> threads;
  for (int i = 0; i < kFetchers; ++i) {
    threads.emplace_back([&] { Exit(FetchOnAndOn(**client, !options.slow, under_way)); });
  }
  for (int i = 0; i < storers; ++i) threads.emplace_back([&] { Exit(StoreOnAndOn(**client, under_way)); });
  under_way.wait();
  std::cout << "ready" << std::endl;
  threads.clear();  // they end with the process
  return kExitOk;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Contender>> Contender::Start(const CacheSite& site, const CacheOptions& options,
                                                            Kind kind) {
  std::vector<std::string> arguments = {"cache",        "contender",   "--servers",
                                        site.servers(), "--transport", options.transport};
  if (kind == Kind::kSlow) arguments.push_back("--slow");
  ASSIGN_OR_RETURN(std::unique_ptr<SelfProcess> process, SelfProcess::Start(arguments));
  std::unique_ptr<Contender> contender(new Contender(std::move(process)));
  if (kind == Kind::kSlow) {
    const SelfProcess& braked = *contender->process_;
    contender->brake_ =
        std::make_unique<Thread>("brake", [&braked](const std::stop_token& stop) { Brake(braked, stop); });
  }
  return contender;
}

Contender::~Contender() {
  brake_.reset();  // before the process that it signals
}

Command AddCacheContenderCommand(CLI::App& app) {
  CLI::App* const command = app.add_subcommand("contender", "Another client of `mixed`, until it is killed");
  command->group("");                          // not for people
  auto* const options = new ContenderOptions;  // lives as long as the program
  AddCacheOptions(*command, *options);
  command->add_flag("--slow", options->slow);
  return {command, [options] { return RunContender(*options); }};
}

}  // namespace droidspeak::bench
