// SPDX-License-Identifier: Apache-2.0
#include "cacheserver/quota.h"

#include <string_view>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/bytes.h"
#include "common/base/status.h"

namespace droidspeak {
namespace {

absl::Status Set(Quota& quota, absl::string_view key, const std::string& value) {
  if (key == "sessions" || key == "namespaces") {
    uint32_t count = 0;
    if (!absl::SimpleAtoi(value, &count)) {
      return absl::InvalidArgumentError(absl::StrCat(key, "=", value, ": expected a count"));
    }
    (key == "sessions" ? quota.sessions : quota.namespaces) = count;
    return absl::OkStatus();
  }
  uint64_t* bytes = nullptr;
  if (key == "host-pool") bytes = &quota.host_bytes;
  if (key == "spill") bytes = &quota.spill_bytes;
  if (key == "bandwidth") bytes = &quota.bytes_per_second;
  if (bytes == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat("'", key, "': expected host-pool, spill, bandwidth, sessions or namespaces"));
  }
  ASSIGN_OR_RETURN(*bytes, ParseBytes(value));
  if (*bytes > 0) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(key, "=", value, ": expected more than nothing"));
}

absl::StatusOr<std::pair<std::string, Quota>> ParseOne(const std::string& text) {
  const std::vector<std::string> words = absl::StrSplit(text, absl::ByAnyChar(" \t"), absl::SkipEmpty());
  if (words.size() < 2) return absl::InvalidArgumentError("expected TENANT KEY=VALUE ...");
  Quota quota;
  for (size_t i = 1; i < words.size(); ++i) {
    const std::vector<std::string> halves = absl::StrSplit(words[i], absl::MaxSplits('=', 1));
    if (halves.size() != 2) return absl::InvalidArgumentError(absl::StrCat("'", words[i], "': expected KEY=VALUE"));
    RETURN_IF_ERROR(Set(quota, halves[0], halves[1]));
  }
  return std::make_pair(words[0], quota);
}

}  // namespace

absl::StatusOr<Quotas> Quotas::Parse(const std::vector<std::string>& texts) {
  Quotas quotas;
  bool others_given = false;
  for (const std::string& text : texts) {
    const absl::StatusOr<std::pair<std::string, Quota>> one = ParseOne(text);
    if (!one.ok()) return Annotate(one.status(), absl::StrCat("--quota '", text, "'"));
    const bool twice = one->first == "*" ? std::exchange(others_given, true) : quotas.by_tenant_.contains(one->first);
    if (twice) return absl::InvalidArgumentError(absl::StrCat("--quota: ", one->first, " has two"));
    (one->first == "*" ? quotas.others_ : quotas.by_tenant_[one->first]) = one->second;
  }
  return quotas;
}

const Quota& Quotas::Of(const std::string& tenant) const {
  const auto found = by_tenant_.find(tenant);
  return found == by_tenant_.end() ? others_ : found->second;
}

}  // namespace droidspeak
