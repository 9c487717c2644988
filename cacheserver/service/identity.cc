// SPDX-License-Identifier: Apache-2.0
#include "cacheserver/service/identity.h"

#include <re2/re2.h>

#include <algorithm>
#include <array>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/status.h"

namespace droidspeak {
namespace {

constexpr size_t kMaxTenantBytes = 128;
constexpr size_t kMaxPatternBytes = 1024;
constexpr std::array<std::string_view, 6> kFields = {"cn", "o", "ou", "dns", "uri", "email"};
constexpr std::array<std::pair<Role, const char*>, 3> kRoles = {
    {{Role::kRead, "read"}, {Role::kFill, "fill"}, {Role::kAdmin, "admin"}}};

// What may stand in logs and metrics as it is.
bool IsTenantName(const std::string& name) {
  return !name.empty() && name.size() <= kMaxTenantBytes &&
         std::all_of(name.begin(), name.end(), [](unsigned char c) { return c > ' ' && c != 0x7f && c != '"'; });
}

}  // namespace

absl::Status Identity::Require(Role role) const {
  if (Has(role)) return absl::OkStatus();
  const auto named = std::find_if(kRoles.begin(), kRoles.end(), [role](const auto& one) { return one.first == role; });
  return absl::PermissionDeniedError(
      absl::StrCat("the role '", named->second, "' is needed, and the certificate of ", tenant, " does not have it"));
}

Identity Identity::Anyone() {
  Identity identity{kDefaultTenantName, 0, absl::InfiniteFuture()};
  for (const auto& [role, name] : kRoles) identity.Add(role);
  return identity;
}

absl::StatusOr<IdentityRules::Rule> IdentityRules::ParseRule(std::string_view flag, std::string_view text) {
  const size_t colon = text.find(':');
  Rule rule;
  rule.field = std::string(text.substr(0, colon));
  if (std::find(kFields.begin(), kFields.end(), rule.field) == kFields.end()) {
    return absl::InvalidArgumentError(
        absl::StrCat(ToAbsl(flag), " '", ToAbsl(text), "': expected FIELD or FIELD:REGEX, FIELD one of ",
                     absl::StrJoin(kFields, ", ", [](std::string* out, std::string_view f) { out->append(f); })));
  }
  if (colon == std::string_view::npos) return rule;
  const std::string pattern(text.substr(colon + 1));
  const auto compiled = std::make_shared<const RE2>(pattern, RE2::Quiet);
  if (pattern.size() > kMaxPatternBytes || !compiled->ok() || compiled->NumberOfCapturingGroups() != 1) {
    return absl::InvalidArgumentError(absl::StrCat(ToAbsl(flag), " '", ToAbsl(text),
                                                   "': expected a regular expression with one group",
                                                   compiled->ok() ? "" : absl::StrCat(": ", compiled->error())));
  }
  rule.pattern = compiled;
  return rule;
}

absl::StatusOr<IdentityRules> IdentityRules::Parse(std::string_view tenant, std::string_view roles) {
  IdentityRules rules;
  ASSIGN_OR_RETURN(rules.tenant_, ParseRule("--tenant-rule", tenant));
  if (!roles.empty()) {
    ASSIGN_OR_RETURN(rules.roles_, ParseRule("--role-rule", roles));
  }
  return rules;
}

std::vector<std::string> IdentityRules::Apply(const Rule& rule, const Certificate& certificate) {
  std::vector<std::string> found;
  for (std::string& value : certificate.Names(rule.field)) {
    std::string group;
    if (rule.pattern == nullptr) {
      found.push_back(std::move(value));
    } else if (RE2::FullMatch(value, *rule.pattern, &group)) {
      found.push_back(std::move(group));
    }
  }
  std::sort(found.begin(), found.end());
  found.erase(std::unique(found.begin(), found.end()), found.end());
  return found;
}

absl::StatusOr<Identity> IdentityRules::Of(const Certificate& certificate) const {
  const std::vector<std::string> tenants = Apply(tenant_, certificate);
  if (tenants.size() != 1) {
    return absl::PermissionDeniedError(absl::StrCat("the certificate names ",
                                                    tenants.empty() ? "no tenant" : "several tenants",
                                                    " by the server's rule, its field ", tenant_.field));
  }
  if (!IsTenantName(tenants.front())) {
    return absl::PermissionDeniedError(absl::StrCat("the certificate's tenant is no name: expected 1 to ",
                                                    kMaxTenantBytes, " characters without spaces and quotes"));
  }
  Identity identity{tenants.front(), 0, certificate.not_after()};
  if (roles_.field.empty()) {
    identity.Add(Role::kRead);
    identity.Add(Role::kFill);
    return identity;
  }
  for (const std::string& name : Apply(roles_, certificate)) {
    for (const auto& [role, known] : kRoles) {
      if (name == known) identity.Add(role);
    }
  }
  if (identity.roles != 0) return identity;
  return absl::PermissionDeniedError(
      absl::StrCat("the certificate of ", identity.tenant,
                   " names no role by the server's rule: expected read, fill or admin in its field ", roles_.field));
}

}  // namespace droidspeak
