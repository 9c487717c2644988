// SPDX-License-Identifier: Apache-2.0
// X.509 certificates as far as we look into them: who they name, and until when.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/base/tls_files.h"

struct x509_st;

namespace droidspeak {

// A certificate and those that came with it. Immutable, cheap to move.
class Certificate {
 public:
  // The first certificate of a PEM text is the one, the others are its chain. INVALID_ARGUMENT when there is none, or
  // one doesn't parse.
  [[nodiscard]] static absl::StatusOr<Certificate> ParsePem(std::string_view pem);

  // What it says of its subject: `field` is cn, o, ou, dns, uri or email, the last three being alternative names.
  // Values with a zero byte, an old trick to look like another, are left out.
  std::vector<std::string> Names(std::string_view field) const;
  absl::Time not_before() const;
  absl::Time not_after() const;

  // For OpenSSL; the certificate first.
  const std::vector<std::shared_ptr<x509_st>>& chain() const { return chain_; }

 private:
  explicit Certificate(std::vector<std::shared_ptr<x509_st>> chain) : chain_(std::move(chain)) {}
  x509_st* leaf() const { return chain_.front().get(); }
  std::vector<std::string> SubjectNames(int nid) const;
  std::vector<std::string> AlternativeNames(int type) const;

  std::vector<std::shared_ptr<x509_st>> chain_;
};

// What a program checks at start, so that a mistake is told then: all three files are given, can be read and parsed,
// the key is the certificate's, and the certificate is valid now. INVALID_ARGUMENT names the flag (--tls-cert,
// --tls-key, --tls-ca) and the file.
[[nodiscard]] absl::Status CheckTlsFiles(const TlsFiles& files);

}  // namespace droidspeak
