// SPDX-License-Identifier: Apache-2.0
#include "tests/support/http_get.h"

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "tests/support/http_call.h"

namespace droidspeak {

std::string HttpGet(const std::string& address, const std::string& path) {
  HttpCall call(address, {.path = path});
  const HttpAnswer answer = call.Whole();
  return call.complete() ? answer.body : "";
}

double MetricOf(const std::string& address, const std::string& name) {
  for (const absl::string_view line : absl::StrSplit(HttpGet(address, "/metrics"), '\n')) {
    double value = 0;
    if (line.substr(0, name.size()) == name && line.size() > name.size() && line[name.size()] == ' ' &&
        absl::SimpleAtod(line.substr(name.size() + 1), &value)) {
      return value;
    }
  }
  return 0;
}

}  // namespace droidspeak
