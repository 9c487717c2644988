// SPDX-License-Identifier: Apache-2.0
#include "cacheserver/options.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status.h"

namespace droidspeak {
namespace {

constexpr size_t kMaxNameBytes = 253;
constexpr uint64_t kMinHostPoolBytes = 16 << 20;
constexpr uint64_t kMinSpillBytes = 64 << 20;  // several of the files that compactions rewrite

absl::Status CheckName(const std::string& name) {
  if (!name.empty() && name.size() <= kMaxNameBytes && name.find_first_of("=, \t\n") == std::string::npos) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat("--name '", name, "': expected 1 to ", kMaxNameBytes, " characters without '=', ',' and spaces"));
}

absl::StatusOr<TransportMode> ParseTransport(const std::string& name) {
  if (name == "auto") return TransportMode::kAuto;
  if (name == "local") return TransportMode::kLocal;
  if (name == "tcp") return TransportMode::kTcp;
  if (name == "ucx") return TransportMode::kUcx;
  if (name == "verbs") return TransportMode::kVerbs;
  return absl::InvalidArgumentError(absl::StrCat("--transport '", name, "': expected auto, local, verbs, tcp or ucx"));
}

absl::Status CheckLoopback(const char* flag, const HostPort& address) {
  if (address.IsLoopback()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(flag, " ", address.ToString(),
                                                 " can be reached from other hosts: give --tls-cert, --tls-key and "
                                                 "--tls-ca, listen on 127.0.0.1, or say --insecure"));
}

}  // namespace

ServerFlags::ServerFlags(Program& program) {
  CLI::App& app = program.app();
  app.add_option("--name", options_.name,
                 "Name of this server, by which blocks are placed; another one for each server")
      ->type_name("NAME");
  AddHostPortOption(app, "--listen", options_.listen, "Control plane: where clients open sessions (gRPC)");
  AddHostPortOption(app, "--data", options_.data, "Data plane over tcp or ucx");
  app.add_option("--advertise", options_.advertise,
                 "Host that clients connect to for --data (default: that of --data, or this host's name)")
      ->type_name("HOST");
  app.add_option("--local-socket", options_.local_socket,
                 "Unix socket of the data plane on this host (default: /tmp/droidspeak-PORT.sock, PORT that of --data)")
      ->type_name("PATH");
  AddHostPortOption(app, "--admin", options_.admin, "/livez, /readyz and /metrics (HTTP)");
  AddBytesOption(app, "--host-pool", options_.host_pool_bytes, "Host memory for extents");
  AddBytesOption(app, "--gpu-pool", gpu_pool_bytes_, "GPU memory for extents: not built yet, 0");
  app.add_option("--spill", options_.spill_folder, "Folder of the RocksDB tier; without it extents live in memory only")
      ->type_name("DIR");
  AddBytesOption(app, "--spill-limit", options_.spill_limit_bytes,
                 "What the RocksDB tier may take on disk, garbage included");
  AddDurationOption(app, "--default-ttl", options_.default_ttl, "How long a block is kept after it was stored");
  app.add_option(
         "--transport", transport_,
         "auto, local, verbs, tcp or ucx; auto serves local and tcp, and verbs where there is an RDMA device and no "
         "TLS (verbs does not encrypt)")
      ->type_name("NAME");
  app.add_option("--cluster-secret-file", options_.cluster_secret_file,
                 "Secret that all servers of a cluster share, 16 bytes or more (default: random, kept in --spill)")
      ->type_name("FILE");
  app.add_flag("--insecure", insecure_, "Listen where other hosts can reach it, without TLS");
  app.add_flag("--json", json_, "Print the addresses on standard output as one line of JSON, once serving");
  AddTlsOptions(app, options_.tls, "this server");
  app.add_option(
         "--tenant-rule", tenant_rule_,
         "With TLS: what in a client's certificate names its tenant, FIELD or FIELD:REGEX with one group; FIELD "
         "is cn, o, ou, dns, uri or email")
      ->type_name("RULE")
      ->capture_default_str();
  app.add_option(
         "--role-rule", role_rule_,
         "With TLS: what in it names its roles read, fill and admin (default: everybody reads and fills, nobody "
         "administers)")
      ->type_name("RULE");
  app.add_option("--quota", quotas_,
                 "\"TENANT KEY=VALUE ...\", once a tenant, * for all others: host-pool, spill, bandwidth (bytes a "
                 "second), sessions, namespaces")
      ->allow_extra_args(false)
      ->take_all()
      ->type_name("QUOTA");
  app.add_flag("--ucx-trust-peers", ucx_trust_peers_,
               "Serve ucx although it believes and does not encrypt what its peers send, with TLS too");
}

absl::Status ServerFlags::CheckSecurity(ServerOptions& options) const {
  ASSIGN_OR_RETURN(options.quotas, Quotas::Parse(quotas_));
  // Wrong rules are told also where they are not used yet.
  ASSIGN_OR_RETURN(IdentityRules rules, IdentityRules::Parse(tenant_rule_, role_rule_));
  if (options.tls.empty()) return absl::OkStatus();
  options.identity = std::make_shared<const IdentityRules>(std::move(rules));
  if (options.transport == TransportMode::kUcx && !ucx_trust_peers_) {
    return absl::InvalidArgumentError(
        "--transport ucx with TLS: ucx does not encrypt, and believes its peers; use tcp, or say --ucx-trust-peers on "
        "a "
        "network where every host is yours");
  }
  return absl::OkStatus();
}

absl::StatusOr<ServerOptions> ServerFlags::Check() const {
  if (gpu_pool_bytes_ > 0) return absl::InvalidArgumentError("--gpu-pool is not built yet: expected 0");
  ServerOptions options = options_;
  RETURN_IF_ERROR(CheckName(options.name));
  ASSIGN_OR_RETURN(options.transport, ParseTransport(transport_));
  RETURN_IF_ERROR(CheckSecurity(options));
  if (!insecure_ && options.tls.empty()) {
    RETURN_IF_ERROR(CheckLoopback("--listen", options.listen));
    RETURN_IF_ERROR(CheckLoopback("--data", options.data));
    RETURN_IF_ERROR(CheckLoopback("--admin", options.admin));
  }
  // Has no TLS and no names: what it tells is for the host's Prometheus.
  if (!insecure_ && !options.tls.empty()) RETURN_IF_ERROR(CheckLoopback("--admin", options.admin));
  if (options.host_pool_bytes < kMinHostPoolBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("--host-pool ", options.host_pool_bytes, ": expected at least 16MiB"));
  }
  if (options.default_ttl < absl::Seconds(1)) {
    return absl::InvalidArgumentError(absl::StrCat("--default-ttl ", absl::FormatDuration(options.default_ttl),
                                                   ": expected at least 1s, in which blocks can be read"));
  }
  if (options.spill_limit_bytes < kMinSpillBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("--spill-limit ", options.spill_limit_bytes, ": expected at least 64MiB"));
  }
  if (options.advertise.find_first_of(" \t,=/[]") != std::string::npos ||
      std::count(options.advertise.begin(), options.advertise.end(), ':') == 1) {  // an IPv6 address has more
    return absl::InvalidArgumentError(
        absl::StrCat("--advertise '", options.advertise, "': expected a host without a port"));
  }
  return options;
}

}  // namespace droidspeak
