// SPDX-License-Identifier: Apache-2.0
#include "common/transport/ucx/ucx_engine.h"

#include <cstdlib>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "common/base/status.h"
#include "common/transport/ucx/ucx_log.h"

namespace droidspeak::ucx {
namespace {

struct Setting {
  const char* name;
  const char* value;
};

// What this transport needs, or what measured best (docs/transports.md). An operator's UCX_<name> goes before.
constexpr Setting kSettings[] = {
    {"TLS", "tcp"},
    // Bytes go from the sender's memory into the receiver's without a copy at either end. 1.22 would choose a scheme
    // four times slower by itself.
    {"RNDV_SCHEME", "put_zcopy"},
    // One connection uses the device that it was made over, and no other beside it.
    {"CM_USE_ALL_DEVICES", "n"},
    {"MAX_RNDV_RAILS", "1"},
    // A server that starts again gets its port back at once.
    {"TCP_CM_REUSEADDR", "y"},
    // A silent client: TCP's own probes, whose shortest times are a second. (The server's end is the one that
    // connects.)
    {"TCP_KEEPIDLE", "1s"},
    {"TCP_KEEPINTVL", "1s"},
    {"TCP_KEEPCNT", "1"},
};

// Until 1.16, settings of one transport go by their names without the transport's.
const char* NameFor(unsigned minor, const char* name) {
  constexpr std::string_view kPrefix = "TCP_";
  return minor < 17 && std::string_view(name).substr(0, kPrefix.size()) == kPrefix ? name + kPrefix.size() : name;
}

absl::Status Configure(ucp_config_t* config, const char* name, const char* value) {
  if (std::getenv(absl::StrCat("UCX_", name).c_str()) != nullptr) return absl::OkStatus();
  unsigned major, minor, release;
  ucp_get_version(&major, &minor, &release);
  const ucs_status_t status = ucp_config_modify(config, NameFor(minor, name), value);
  return status == UCS_OK ? absl::OkStatus() : ToStatus(status, absl::StrCat("setting UCX's ", name));
}

absl::StatusOr<ucp_context_h> CreateContext(Reach reach) {
  RedirectLog();
  ucp_config_t* config = nullptr;
  if (const ucs_status_t status = ucp_config_read(nullptr, nullptr, &config); status != UCS_OK) {
    return ToStatus(status, "reading UCX's settings");
  }
  const absl::Cleanup release = [config] { ucp_config_release(config); };
  for (const Setting& setting : kSettings) RETURN_IF_ERROR(Configure(config, setting.name, setting.value));
  if (reach.loopback) RETURN_IF_ERROR(Configure(config, "NET_DEVICES", "lo"));
  RETURN_IF_ERROR(Configure(config, "TCP_AF_PRIO", reach.ipv6 ? "inet6" : "inet"));
  ucp_params_t params{};
  params.field_mask = UCP_PARAM_FIELD_FEATURES;
  params.features = UCP_FEATURE_AM | UCP_FEATURE_WAKEUP;
  ucp_context_h context = nullptr;
  const ucs_status_t status = ucp_init(&params, config, &context);
  if (status != UCS_OK) return ToStatus(status, "starting UCX");
  return context;
}

}  // namespace

absl::StatusOr<std::unique_ptr<UcxEngine>> UcxEngine::Create(Reach reach) {
  std::unique_ptr<UcxEngine> engine(new UcxEngine);
  ASSIGN_OR_RETURN(engine->context_, CreateContext(reach));
  ucp_worker_params_t params{};
  params.field_mask = UCP_WORKER_PARAM_FIELD_THREAD_MODE;
  params.thread_mode = UCS_THREAD_MODE_SERIALIZED;
  ucs_status_t status = ucp_worker_create(engine->context_, &params, &engine->worker_);
  if (status != UCS_OK) return ToStatus(status, "creating a UCX worker");
  status = ucp_worker_get_efd(engine->worker_, &engine->event_fd_);
  if (status != UCS_OK) return ToStatus(status, "asking for a UCX worker's event descriptor");
  return engine;
}

UcxEngine::~UcxEngine() {
  if (worker_ != nullptr) ucp_worker_destroy(worker_);
  if (context_ != nullptr) ucp_cleanup(context_);
}

absl::StatusOr<SocketAddress> ResolveForUcx(const std::string& text) {
  ASSIGN_OR_RETURN(const std::vector<SocketAddress> addresses, SocketAddress::Resolve(text));
  for (const SocketAddress& address : addresses) {
    if (!address.is_loopback() || !address.is_ipv6()) return address;
  }
  return absl::InvalidArgumentError(absl::StrCat("UCX does not use the address ::1 of ", text, "; take 127.0.0.1"));
}

Reach ReachOf(const SocketAddress& address) {
  return {.loopback = address.is_loopback(), .ipv6 = address.is_ipv6()};
}

absl::Status ToStatus(ucs_status_t status, const std::string& what) {
  if (status == UCS_OK) return absl::OkStatus();
  const std::string text = absl::StrCat(what, ": ", ucs_status_string(status));
  switch (status) {
    case UCS_ERR_CANCELED:
      return absl::CancelledError(text);
    case UCS_ERR_BUSY:
      return absl::AlreadyExistsError(text);
    case UCS_ERR_NO_MEMORY:
      return absl::ResourceExhaustedError(text);
    case UCS_ERR_INVALID_PARAM:
      return absl::InvalidArgumentError(text);
    default:
      return absl::UnavailableError(text);
  }
}

}  // namespace droidspeak::ucx
