// SPDX-License-Identifier: Apache-2.0
// Who calls: the tenant whose blocks a session sees, and what it may do there.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/tls/certificate.h"

namespace re2 {
class RE2;
}

namespace droidspeak {

// The tenant of every caller without TLS.
inline constexpr char kDefaultTenantName[] = "default";

// read: coverage and fetches. fill: storing and removing blocks; whoever may fill is believed, and can poison its own
// tenant's cache. admin: what droidspeak-ctl does, for all tenants.
enum class Role : uint8_t { kRead = 1, kFill = 2, kAdmin = 4 };

struct Identity {
  std::string tenant;
  uint8_t roles = 0;
  absl::Time valid_until = absl::InfiniteFuture();  // the certificate's end

  bool Has(Role role) const { return (roles & static_cast<uint8_t>(role)) != 0; }
  void Add(Role role) { roles |= static_cast<uint8_t>(role); }
  // PERMISSION_DENIED names the role that is missing.
  [[nodiscard]] absl::Status Require(Role role) const;

  // Without TLS: whoever can connect, as tenant `default`, may do everything.
  static Identity Anyone();
};

// How certificates say who somebody is. A rule is FIELD or FIELD:REGEX, FIELD one of cn, o, ou (of the subject), dns,
// uri, email (alternative names); REGEX (RE2's syntax) matches a whole value, and its one group is what counts.
// Immutable, thread-safe.
class IdentityRules {
 public:
  // `roles` may be empty: then everybody may read and fill, and nobody administer. INVALID_ARGUMENT names the flag.
  [[nodiscard]] static absl::StatusOr<IdentityRules> Parse(std::string_view tenant, std::string_view roles);

  // PERMISSION_DENIED when the certificate names no tenant, or several, or no role.
  [[nodiscard]] absl::StatusOr<Identity> Of(const Certificate& certificate) const;

 private:
  struct Rule {
    std::string field;
    std::shared_ptr<const re2::RE2> pattern;  // null: the whole value
  };
  [[nodiscard]] static absl::StatusOr<Rule> ParseRule(std::string_view flag, std::string_view text);
  static std::vector<std::string> Apply(const Rule& rule, const Certificate& certificate);

  Rule tenant_;
  Rule roles_;  // without a field: none
};

}  // namespace droidspeak
