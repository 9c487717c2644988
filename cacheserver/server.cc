// SPDX-License-Identifier: Apache-2.0
#include "cacheserver/server.h"

#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysinfo.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "cacheserver/admin/admin_server.h"
#include "cacheserver/admin/store_metrics.h"
#include "cacheserver/service/cluster_secret.h"
#include "cacheserver/service/control_service.h"
#include "cacheserver/service/data_service.h"
#include "cacheserver/service/tuning.h"
#include "cacheserver/store.h"
#include "common/base/bytes.h"
#include "common/base/files.h"
#include "common/base/log.h"
#include "common/base/status.h"
#include "common/tls/certificate.h"
#include "common/transport/transport.h"

namespace droidspeak {
namespace {

absl::Status CheckPool(uint64_t bytes) {
  struct sysinfo info {};
  if (sysinfo(&info) != 0) return ErrnoStatus(errno, "asking for the size of memory");
  const uint64_t memory = uint64_t{info.totalram} * info.mem_unit;
  if (bytes < memory) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("--host-pool ", FormatBytes(bytes), " is more than this machine's memory, ", FormatBytes(memory)));
}

absl::Status PrepareSpillFolder(const std::string& folder) {
  if (folder.empty()) return absl::OkStatus();
  if (mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST) {
    return ErrnoStatus(errno, absl::StrCat("creating the folder of --spill, ", folder));
  }
  struct stat found {};
  if (stat(folder.c_str(), &found) != 0)
    return ErrnoStatus(errno, absl::StrCat("opening the folder of --spill, ", folder));
  if (!S_ISDIR(found.st_mode))
    return absl::FailedPreconditionError(absl::StrCat("--spill ", folder, " is not a folder"));
  if (access(folder.c_str(), R_OK | W_OK | X_OK) != 0) {
    return ErrnoStatus(errno, absl::StrCat("--spill needs a folder that can be written; opening ", folder));
  }
  struct statfs system {};
  if (statfs(folder.c_str(), &system) == 0 && system.f_type == TMPFS_MAGIC) {
    return absl::FailedPreconditionError(
        absl::StrCat("--spill ", folder, " lies in memory (tmpfs): expected a folder on a disk"));
  }
  return absl::OkStatus();
}

// --spill-limit, or nine tenths of the file system where that is smaller and no limit was asked for.
absl::StatusOr<uint64_t> SpillLimit(const ServerOptions& options) {
  struct statvfs system {};
  if (options.spill_folder.empty()) return options.spill_limit_bytes;
  if (statvfs(options.spill_folder.c_str(), &system) != 0) {
    return ErrnoStatus(errno, absl::StrCat("asking for the size of the disk of --spill ", options.spill_folder));
  }
  const uint64_t bytes = uint64_t{system.f_blocks} * system.f_frsize;
  if (options.spill_limit_bytes <= bytes) return options.spill_limit_bytes;
  if (options.spill_limit_bytes == ServerOptions{}.spill_limit_bytes) return bytes / 10 * 9;
  return absl::InvalidArgumentError(absl::StrCat("--spill-limit ", FormatBytes(options.spill_limit_bytes),
                                                 " is more than the file system of --spill ", options.spill_folder,
                                                 " has, ", FormatBytes(bytes)));
}

std::string HostName() {
  char name[256] = {};
  return gethostname(name, sizeof name - 1) == 0 ? name : "localhost";
}

// The transports that serve other hosts. `auto` takes verbs where there is a device, unless TLS was asked for, which
// verbs does not have; and tcp rather than ucx: it is the faster one over TCP, and trusts no peer.
std::vector<DataOptions::Network> NetworksOf(TransportMode mode, bool tls) {
  switch (mode) {
    case TransportMode::kLocal:
      return {};
    case TransportMode::kUcx:
      return {{"ucx"}};
    case TransportMode::kVerbs:
      return {{"verbs"}};
    case TransportMode::kTcp:
      return {{"tcp", tls}};
    case TransportMode::kAuto:
      break;
  }
  if (tls) return {{"tcp", tls}};
  return {{"verbs", false, /*optional=*/true}, {"tcp"}};
}

absl::StatusOr<uint64_t> NewEpoch() {
  ASSIGN_OR_RETURN(const std::string random, RandomBytes(sizeof(uint64_t)));
  uint64_t epoch = 0;
  std::memcpy(&epoch, random.data(), sizeof epoch);
  return epoch;
}

}  // namespace

// In the order of construction; destroyed the other way round.
class CacheServer::Parts {
 public:
  ~Parts() { Stop(absl::ZeroDuration()).IgnoreError(); }

  absl::Status Start(const ServerOptions& options);
  absl::Status Stop(absl::Duration grace);
  const ServerAddresses& addresses() const { return addresses_; }

 private:
  absl::Status OpenStore(const ServerOptions& options);
  absl::Status StartService(const ServerOptions& options);
  absl::Status StartAdmin(const HostPort& address);
  Readiness AskReadiness() const;

  Metrics metrics_;
  ServiceMetrics service_metrics_{metrics_};
  std::unique_ptr<ClusterSecret> secret_;
  std::unique_ptr<ExtentStore> store_;
  std::unique_ptr<StoreMetrics> store_metrics_;
  std::atomic<bool> drained_{false};  // by an operator
  std::unique_ptr<SessionTable> sessions_;
  std::unique_ptr<DataService> data_;
  std::unique_ptr<ControlServer> control_;
  std::unique_ptr<HttpServer> admin_;
  std::atomic<bool> serving_{false};
  ServerAddresses addresses_;
};

absl::Status CacheServer::Parts::Start(const ServerOptions& options) {
  RETURN_IF_ERROR(CheckPool(options.host_pool_bytes));
  if (!options.tls.empty()) RETURN_IF_ERROR(CheckTlsFiles(options.tls));
  RETURN_IF_ERROR(OpenStore(options));
  RETURN_IF_ERROR(StartService(options));
  RETURN_IF_ERROR(StartAdmin(options.admin));
  serving_ = true;
  return absl::OkStatus();
}

absl::Status CacheServer::Parts::OpenStore(const ServerOptions& options) {
  RETURN_IF_ERROR(PrepareSpillFolder(options.spill_folder));
  ASSIGN_OR_RETURN(ClusterSecret secret, ClusterSecret::Load(options.cluster_secret_file, options.spill_folder));
  secret_ = std::make_unique<ClusterSecret>(std::move(secret));
  StoreOptions store;
  store.host_pool_bytes = options.host_pool_bytes;
  store.spill_dir = options.spill_folder;
  ASSIGN_OR_RETURN(store.spill_limit_bytes, SpillLimit(options));
  store.cluster_secret_id = secret_->id();
  store.default_ttl = options.default_ttl;
  store.quotas = options.quotas;
  ASSIGN_OR_RETURN(store_, ExtentStore::Open(std::move(store)));
  return absl::OkStatus();
}

absl::Status CacheServer::Parts::StartService(const ServerOptions& options) {
  sessions_ = std::make_unique<SessionTable>(SessionTable::Limits{options.max_sessions, options.lease},
                                             [this](uint64_t session) {
                                               store_->DropOwner(session);
                                               if (data_ != nullptr) data_->Wake();
                                             });
  DataOptions data;
  // `local` never leaves the host; whoever serves ucx or verbs with TLS has said that they trust the network.
  data.networks = NetworksOf(options.transport, !options.tls.empty());
  data.serve_local = options.transport == TransportMode::kAuto || options.transport == TransportMode::kLocal;
  data.listen = options.data;
  data.local_socket = options.local_socket;
  data.offer_lease = options.offer_lease;
  data.drained = &drained_;
  ASSIGN_OR_RETURN(data_, DataService::Start(data, *store_, *sessions_, service_metrics_));

  ControlOptions control;
  control.listen = options.listen;
  control.server_name = options.name;
  control.quotas = options.quotas;
  control.tls = options.tls;
  control.identity = options.identity;
  control.max_inflight_bytes = tuning::kSessionInflightBytes;
  control.drained = &drained_;
  control.state = [this] {
    const Readiness now = AskReadiness();
    return ServerState{now.ready, now.degraded, data_->inflight_bytes()};
  };
  ASSIGN_OR_RETURN(control.epoch, NewEpoch());
  ASSIGN_OR_RETURN(control.transports.host_id, ReadHostId());
  control.introduce = [this](const std::string& transport, const std::string& words) {
    return data_->Introduce(transport, words);
  };
  for (const DataService::Served& served : data_->served()) {
    ASSIGN_OR_RETURN(const Transport* transport, FindTransport(served.transport));
    std::string address = served.address;
    if (served.transport == "local") {
      addresses_.local_socket = served.address;
    } else if (!transport->introduces()) {
      ASSIGN_OR_RETURN(HostPort bound, HostPort::Parse(served.address));
      addresses_.data = bound.ToString();
      if (bound.host == "0.0.0.0" || bound.host == "::") bound.host = HostName();
      if (!options.advertise.empty()) bound.host = options.advertise;
      address = bound.ToString();
    }
    control.transports.transports.push_back({served.transport, address, transport->version(), served.encrypted});
  }
  absl::StatusOr<std::unique_ptr<ControlServer>> started =
      ControlServer::Start(control, *secret_, *sessions_, *store_, service_metrics_);
  if (!started.ok()) return Annotate(started.status(), "--listen");
  control_ = *std::move(started);
  addresses_.listen = control_->address().ToString();
  return absl::OkStatus();
}

absl::Status CacheServer::Parts::StartAdmin(const HostPort& address) {
  store_metrics_ = std::make_unique<StoreMetrics>(metrics_, *store_);
  metrics_.BeforeScrape([this] {
    store_metrics_->Update();
    service_metrics_.sessions.Set(static_cast<double>(sessions_->size()));
    service_metrics_.inflight_bytes.Set(static_cast<double>(data_->inflight_bytes()));
    service_metrics_.UpdateResources();
  });
  absl::StatusOr<std::unique_ptr<HttpServer>> started =
      StartAdminServer(address, metrics_, [this] { return AskReadiness(); });
  if (!started.ok()) return Annotate(started.status(), "--admin");
  admin_ = *std::move(started);
  addresses_.admin = admin_->address().ToString();
  return absl::OkStatus();
}

Readiness CacheServer::Parts::AskReadiness() const {
  return {serving_ && !drained_, store_->degraded().value_or("")};
}

absl::Status CacheServer::Parts::Stop(absl::Duration grace) {
  serving_ = false;
  if (control_ != nullptr) control_->Drain();  // clients whose requests are under way still renew their leases
  if (data_ != nullptr) data_->Stop(grace);
  if (control_ != nullptr) control_->Stop(absl::Seconds(1));
  const absl::Status closed = store_ == nullptr ? absl::OkStatus() : store_->Close();
  if (admin_ != nullptr) admin_->Stop();
  return closed;
}

absl::StatusOr<std::unique_ptr<CacheServer>> CacheServer::Start(const ServerOptions& options) {
  auto parts = std::make_unique<Parts>();
  RETURN_IF_ERROR(parts->Start(options));
  return std::unique_ptr<CacheServer>(new CacheServer(std::move(parts)));
}

CacheServer::CacheServer(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
CacheServer::~CacheServer() = default;
const ServerAddresses& CacheServer::addresses() const {
  return parts_->addresses();
}
absl::Status CacheServer::Stop(absl::Duration grace) {
  return parts_->Stop(grace);
}

}  // namespace droidspeak
