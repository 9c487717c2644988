// SPDX-License-Identifier: Apache-2.0
// The soak's load: a client on a thread that fetches chains, stores those that are missing, and now and then a new one.
#pragma once

#include <atomic>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "droidspeak/client.h"

namespace droidspeak::soak {

// What the operations of a stretch of time took and found.
struct Tally {
  std::vector<double> milliseconds;  // from when an operation was due to its end
  uint64_t hits = 0;
  uint64_t misses = 0;
  uint64_t wrong = 0;   // bytes that are not what was stored
  uint64_t failed = 0;  // stores that a server refused
};

// One client with its memory. Run() is for one thread; TakeTally() for another.
class Load {
 public:
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<Load>> Create(const std::string& server,
                                                                    const std::string& transport, uint64_t seed);
  // Stores every chain once.
  void Prepare();
  // Operations until `end`, so many a second; 0: one after the other.
  void Run(absl::Time end, double operations_per_second);
  // What was done since the last call.
  Tally TakeTally();

 private:
  Load(std::unique_ptr<Client> client, NamespaceHandle ns, uint64_t seed)
      : client_(std::move(client)), ns_(std::move(ns)), random_(seed) {}
  void Operate(absl::Time due);
  void StoreChain(uint32_t chain);
  // Whether all of it was there.
  bool FetchChain(uint32_t chain, Tally& tally);
  std::vector<TransferItem> Items() const;

  const std::unique_ptr<Client> client_;
  const NamespaceHandle ns_;
  std::mt19937_64 random_;
  std::unique_ptr<Region> sources_;
  std::unique_ptr<Region> destinations_;
  uint32_t fresh_ = 0;
  absl::Mutex mutex_;
  Tally tally_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace droidspeak::soak
