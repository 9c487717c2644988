// SPDX-License-Identifier: Apache-2.0
// Between our words and libtorch's: dtypes, and exceptions turned into statuses at the engine's edge.
#pragma once

#include <exception>
#include <new>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "c10/core/ScalarType.h"
#include "c10/util/Exception.h"
#include "engine/model/dtype.h"

namespace droidspeak {

[[nodiscard]] constexpr at::ScalarType ScalarType(Dtype dtype) {
  return dtype == Dtype::kFloat32 ? at::kFloat : at::kBFloat16;
}

// What `body` returns (a Status or a StatusOr); an exception of libtorch or of the library becomes a status that says
// what was being done.
template <typename Body>
auto WithoutExceptions(absl::string_view doing, Body&& body) -> decltype(body()) {
  try {
    return std::forward<Body>(body)();
  } catch (const c10::Error& error) {
    return absl::InternalError(absl::StrCat(doing, ": ", error.what_without_backtrace()));
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError(absl::StrCat(doing, ": out of memory"));
  } catch (const std::exception& error) {
    return absl::InternalError(absl::StrCat(doing, ": ", error.what()));
  }
}

}  // namespace droidspeak
