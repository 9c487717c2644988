// SPDX-License-Identifier: Apache-2.0
#include "common/tls/grpc_log.h"

#include <grpc/support/log.h>

#include <string_view>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "common/base/log.h"

namespace droidspeak {
namespace {

constexpr std::string_view kHandshakeFailed = "Handshake failed";
constexpr absl::Duration kBetweenMessages = absl::Seconds(1);

struct Sink {
  absl::Mutex mutex;
  std::function<void()> on_refused ABSL_GUARDED_BY(mutex);
  absl::Time next_message ABSL_GUARDED_BY(mutex) = absl::InfinitePast();
};

Sink& TheSink() {
  static Sink* const sink = new Sink;  // gRPC's threads may outlive main()
  return *sink;
}

void Take(gpr_log_func_args* args) {
  const std::string_view message = args->message;
  Sink& sink = TheSink();
  absl::MutexLock lock(&sink.mutex);
  if (sink.on_refused && message.find(kHandshakeFailed) != std::string_view::npos) sink.on_refused();
  if (absl::Now() < sink.next_message) return;
  sink.next_message = absl::Now() + kBetweenMessages;
  spdlog::log(args->severity == GPR_LOG_SEVERITY_ERROR ? spdlog::level::warn : spdlog::level::debug, "gRPC: {}",
              message);
}

}  // namespace

void TakeOverGrpcLog(std::function<void()> on_refused) {
  {
    absl::MutexLock lock(&TheSink().mutex);
    TheSink().on_refused = std::move(on_refused);
  }
  gpr_set_log_function(Take);
}

void EndGrpcRefusals() {
  absl::MutexLock lock(&TheSink().mutex);
  TheSink().on_refused = nullptr;
}

}  // namespace droidspeak
