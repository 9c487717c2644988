// SPDX-License-Identifier: Apache-2.0
#include "bench/cache/site.h"

#include <unistd.h>

#include <iostream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "bench/cpu_seconds.h"
#include "common/base/bytes.h"
#include "common/base/status.h"
#include "common/transport/transport.h"

namespace droidspeak::bench {

void AddCacheOptions(CLI::App& command, CacheOptions& options) {
  command.add_option("--servers", options.servers, "[NAME=]HOST:PORT,... (default: one is started)");
  command.add_option("--transport", options.transport, "local, verbs, tcp or ucx")
      ->check(CLI::IsMember(TransportNames()));
  command.add_option("--repeats", options.repeats, "Rounds measured")->check(CLI::Range(1, 1000));
  command.add_flag("--json", options.json, "One JSON object on standard output");
}

void AddShapeOptions(CLI::App& command, CacheShape& shape) {
  command.add_option("--layers", shape.layers)->check(CLI::Range(1, 256));
  command.add_option("--blocks", shape.blocks)->check(CLI::Range(1, 4000));
  AddBytesOption(command, "--extent", shape.extent_bytes, "Bytes of an extent, a power of two");
}

void Describe(const CacheOptions& options, Report& report) {
  report.Setting("transport", options.transport);
  report.Setting("repeats", options.repeats);
}

void Describe(const CacheShape& shape, Report& report) {
  report.Setting("extent_bytes", shape.extent_bytes);
  report.Setting("blocks", shape.blocks);
  report.Setting("layers", shape.layers);
}

int Finish(const char* command, const CacheOptions& options, const absl::Status& measured, const Report& report) {
  if (!measured.ok()) {
    std::cerr << "droidspeak-bench cache " << command << ": " << measured.message() << "\n";
    return absl::IsInvalidArgument(measured) ? kExitUsage : kExitFailed;
  }
  report.Print(options.json);
  return kExitOk;
}

absl::StatusOr<std::unique_ptr<CacheSite>> CacheSite::Open(const CacheOptions& options, uint64_t pool_bytes) {
  std::unique_ptr<CacheSite> site(new CacheSite);
  site->transport_ = options.transport;
  if (!options.servers.empty()) {
    ASSIGN_OR_RETURN(site->servers_, ParseServers(options.servers));
    return site;
  }
  ASSIGN_OR_RETURN(site->own_, ServerProcess::Start("bench", {absl::StrCat("--host-pool=", pool_bytes),
                                                              "--transport=" + options.transport}));
  site->servers_.push_back({"bench", site->own_->listen()});
  return site;
}

absl::StatusOr<std::unique_ptr<Client>> CacheSite::Connect(bool verify_checksums) const {
  ClientOptions options;
  options.servers = servers_;
  options.transport = transport_;
  options.verify_checksums = verify_checksums;
  return Client::Connect(options);
}

std::string CacheSite::servers() const {
  return absl::StrJoin(servers_, ",", [](std::string* out, const ServerAddress& server) {
    absl::StrAppend(out, server.name, server.name.empty() ? "" : "=", server.host_port);
  });
}

double CacheSite::ServerCpuSeconds() const {
  return own_ == nullptr ? 0 : bench::CpuSeconds(static_cast<int>(own_->pid()));
}

double CacheSite::CpuSeconds() const {
  return ServerCpuSeconds() + bench::CpuSeconds(static_cast<int>(getpid()));
}

}  // namespace droidspeak::bench
