// SPDX-License-Identifier: Apache-2.0
// An engine that serves: a model, its scheduler, its caches and its API, put together.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/base/host_port.h"
#include "engine/commands/options.h"

namespace droidspeak {

// Another model, and the plan by which its cache is used.
struct ServingSender {
  std::string model;  // DIR[+ADAPTER_DIR]
  bool runs = false;  // `plan` was given with --runs, not with --plan
  std::string plan;
};

// An adapter of the model, chosen by its name in the API.
struct ServingAdapter {
  std::string name;
  std::string dir;
};

struct ServingOptions {
  EngineOptions engine;
  std::string model;
  std::string served_name;  // empty: the model's folder
  HostPort http;
  std::string api_key_file;  // empty: everybody is served
  std::vector<ServingAdapter> adapters;
  std::vector<ServingSender> senders;
  uint64_t kv_bytes = 0;  // of the KV slab
  int64_t max_running = 0;
  int64_t max_waiting = 0;
  std::string keep_e = "all";
};

// Owns all of it. Used by one thread.
class Serving {
 public:
  // Loads everything, then listens.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<Serving>> Start(const ServingOptions& options);
  ~Serving();

  [[nodiscard]] const HostPort& address() const;
  [[nodiscard]] const std::string& served_name() const;
  // Of prompt and answer together.
  [[nodiscard]] int64_t max_tokens() const;

  // Takes no more requests, and ends when those under way have ended or `grace` has passed. False: some were cut off.
  bool Stop(absl::Duration grace);

 private:
  class Parts;
  explicit Serving(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts_;
};

}  // namespace droidspeak
