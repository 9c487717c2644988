// SPDX-License-Identifier: Apache-2.0
// The project's one error channel is absl::Status; these macros pass an error to the caller.
#pragma once

#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "common/base/text.h"

// Returns the status of `expression` from the enclosing function unless it is OK.
#define RETURN_IF_ERROR(expression)                           \
  do {                                                        \
    if (absl::Status status_ = (expression); !status_.ok()) { \
      return status_;                                         \
    }                                                         \
  } while (false)

// Evaluates `expression` (a StatusOr<T>); returns its status on error, else moves its value into `target`.
#define ASSIGN_OR_RETURN(target, expression) \
  DROIDSPEAK_ASSIGN_OR_RETURN_(DROIDSPEAK_CONCAT_(status_or_, __LINE__), target, expression)

#define DROIDSPEAK_CONCAT_INNER_(a, b) a##b
#define DROIDSPEAK_CONCAT_(a, b) DROIDSPEAK_CONCAT_INNER_(a, b)
#define DROIDSPEAK_ASSIGN_OR_RETURN_(holder, target, expression) \
  auto holder = (expression);                                    \
  if (!holder.ok()) return std::move(holder).status();           \
  target = std::move(holder).value()

namespace droidspeak {

// `status` with `context` put before its message ("reading config.json: ..."); OK stays OK.
[[nodiscard]] inline absl::Status Annotate(const absl::Status& status, std::string_view context) {
  if (status.ok()) return status;
  return absl::Status(status.code(), absl::StrCat(ToAbsl(context), ": ", status.message()));
}

}  // namespace droidspeak
