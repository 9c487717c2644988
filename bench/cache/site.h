// SPDX-License-Identifier: Apache-2.0
// What all commands of `droidspeak-bench cache` have in common: their options, and the servers that they talk to.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "bench/cache/load.h"
#include "bench/report.h"
#include "common/base/config.h"
#include "droidspeak/client.h"
#include "tests/support/server_process.h"

namespace droidspeak::bench {

struct CacheOptions {
  std::string servers;  // empty: one is started
  std::string transport = "local";
  CacheShape shape;
  int repeats = 5;
  bool no_checksum = false;
  bool json = false;
};

// --servers, --transport, --repeats and --json.
void AddCacheOptions(CLI::App& command, CacheOptions& options);
// --layers, --blocks and --extent.
void AddShapeOptions(CLI::App& command, CacheShape& shape);

// Settings that `report` says of every command.
void Describe(const CacheOptions& options, Report& report);
void Describe(const CacheShape& shape, Report& report);

// Says on standard error what went wrong, or prints the report; the exit code.
int Finish(const char* command, const CacheOptions& options, const absl::Status& measured, const Report& report);

// The servers of --servers, or one of its own that ends with the object. Not thread-safe.
class CacheSite {
 public:
  // A server of its own gets a host pool of `pool_bytes`.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<CacheSite>> Open(const CacheOptions& options,
                                                                       uint64_t pool_bytes);

  [[nodiscard]] absl::StatusOr<std::unique_ptr<Client>> Connect(bool verify_checksums) const;
  // For --servers of another process.
  std::string servers() const;
  // CPU seconds so far: of the server, if it is our own, and of that and this process.
  double ServerCpuSeconds() const;
  double CpuSeconds() const;
  bool own() const { return own_ != nullptr; }

 private:
  CacheSite() = default;

  std::string transport_;
  std::vector<ServerAddress> servers_;
  std::unique_ptr<ServerProcess> own_;
};

}  // namespace droidspeak::bench
