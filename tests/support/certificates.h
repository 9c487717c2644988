// SPDX-License-Identifier: Apache-2.0
// Certificates for tests: an authority, and what it signs.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "common/base/tls_files.h"

struct evp_pkey_st;
struct x509_st;

namespace droidspeak {

struct CertificateRequest {
  std::string common_name;
  std::vector<std::string> units;         // OU of the subject
  std::vector<std::string> alternatives;  // as OpenSSL has them: "DNS:localhost", "IP:127.0.0.1", "URI:..."
  absl::Duration valid_for = absl::Hours(1);
};

// Keys are P-256. Files are written whole, and may be written again.
class TestAuthority {
 public:
  TestAuthority();
  // Issues a certificate, and writes NAME.crt, NAME.key and NAME-ca.crt into `folder`.
  TlsFiles Issue(const std::string& folder, const std::string& name, const CertificateRequest& request) const;

 private:
  std::shared_ptr<evp_pkey_st> key_;
  std::shared_ptr<x509_st> certificate_;
};

}  // namespace droidspeak
