// SPDX-License-Identifier: Apache-2.0
// What a server says over HTTP, for tests.
#pragma once

#include <string>

namespace droidspeak {

// The body of the answer to GET `path` at HOST:PORT (IPv4); "" when there is none.
std::string HttpGet(const std::string& address, const std::string& path);

// The value of a metric as /metrics has it: `name` with its labels, as in `sessions{a="b"}`; 0 when it is not there.
double MetricOf(const std::string& address, const std::string& name);

}  // namespace droidspeak
