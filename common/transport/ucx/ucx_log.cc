// SPDX-License-Identifier: Apache-2.0
#include "common/transport/ucx/ucx_log.h"

#include <cstdarg>
#include <cstdio>

extern "C" {
#include <ucs/debug/log_def.h>
}

#include "common/base/log.h"

namespace droidspeak::ucx {
namespace {

ucs_log_func_rc_t Log(const char*, unsigned, const char*, ucs_log_level_t level, const ucs_log_component_config_t*,
                      const char* format, va_list arguments) {
  char text[512];
  std::vsnprintf(text, sizeof(text), format, arguments);
  spdlog::level::level_enum ours = spdlog::level::debug;
  if (level == UCS_LOG_LEVEL_FATAL) ours = spdlog::level::critical;
  if (level == UCS_LOG_LEVEL_ERROR) ours = spdlog::level::err;
  if (level == UCS_LOG_LEVEL_WARN) ours = spdlog::level::warn;
  if (level == UCS_LOG_LEVEL_INFO) ours = spdlog::level::info;
  spdlog::log(ours, "ucx: {}", text);
  return UCS_LOG_FUNC_RC_STOP;
}

}  // namespace

void RedirectLog() {
  [[maybe_unused]] static const bool once = [] {
    ucs_log_push_handler(&Log);
    return true;
  }();
}

}  // namespace droidspeak::ucx
