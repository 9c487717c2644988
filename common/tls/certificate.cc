// SPDX-License-Identifier: Apache-2.0
#include "common/tls/certificate.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <optional>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/files.h"
#include "common/base/status.h"
#include "common/base/text.h"

namespace droidspeak {
namespace {

constexpr uint64_t kMaxPemBytes = uint64_t{1} << 20;
constexpr size_t kMaxChain = 512;  // of a file of authorities

struct FieldName {
  std::string_view name;
  int nid;          // of the subject, or
  int alternative;  // a GEN_... type
};
constexpr std::array<FieldName, 6> kFields = {{{"cn", NID_commonName, -1},
                                               {"o", NID_organizationName, -1},
                                               {"ou", NID_organizationalUnitName, -1},
                                               {"dns", NID_undef, GEN_DNS},
                                               {"uri", NID_undef, GEN_URI},
                                               {"email", NID_undef, GEN_EMAIL}}};

absl::Time ToTime(const ASN1_TIME* time) {
  std::tm broken_down{};
  if (ASN1_TIME_to_tm(time, &broken_down) != 1) return absl::InfinitePast();
  return absl::FromTM(broken_down, absl::UTCTimeZone());
}

// As UTF-8, unless a zero byte is in it.
std::optional<std::string> Text(const ASN1_STRING* value) {
  unsigned char* bytes = nullptr;
  const int size = ASN1_STRING_to_UTF8(&bytes, value);
  if (size < 0) return std::nullopt;
  std::string text(reinterpret_cast<const char*>(bytes), static_cast<size_t>(size));
  OPENSSL_free(bytes);
  if (text.find('\0') != std::string::npos) return std::nullopt;
  return text;
}

absl::Status Wrong(const char* flag, const std::string& file, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat(flag, " ", file, ": ", what));
}

absl::StatusOr<std::string> ReadPem(const char* flag, const std::string& file) {
  if (file.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(flag, " is missing: --tls-cert, --tls-key and --tls-ca go together"));
  }
  absl::StatusOr<std::string> text = ReadFile(file, kMaxPemBytes);
  if (!text.ok()) return Wrong(flag, file, text.status().message());
  return text;
}

absl::Status CheckKey(const std::string& file, const std::string& pem, const Certificate& certificate,
                      const std::string& certificate_file) {
  BIO* const bio = BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size()));
  const auto no_passphrase = [](char*, int, int, void*) { return 0; };
  EVP_PKEY* const key = PEM_read_bio_PrivateKey(bio, nullptr, no_passphrase, nullptr);
  const absl::Cleanup free = [&] {
    EVP_PKEY_free(key);
    BIO_free(bio);
    ERR_clear_error();
  };
  if (key == nullptr) return Wrong("--tls-key", file, "no private key in PEM, or one with a passphrase");
  if (X509_check_private_key(certificate.chain().front().get(), key) == 1) return absl::OkStatus();
  return Wrong("--tls-key", file, absl::StrCat("is not the key of the certificate in ", certificate_file));
}

}  // namespace

absl::StatusOr<Certificate> Certificate::ParsePem(std::string_view pem) {
  if (pem.size() > kMaxPemBytes) return absl::InvalidArgumentError("more than 1 MiB of certificates");
  BIO* const bio = BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size()));
  const absl::Cleanup free = [&] { BIO_free(bio); };
  std::vector<std::shared_ptr<x509_st>> chain;
  while (chain.size() < kMaxChain) {
    X509* const one = PEM_read_bio_X509(bio, nullptr, nullptr, nullptr);
    if (one == nullptr) break;
    chain.emplace_back(one, X509_free);
  }
  const unsigned long error = ERR_peek_last_error();
  ERR_clear_error();
  const bool at_end = ERR_GET_LIB(error) == ERR_LIB_PEM && ERR_GET_REASON(error) == PEM_R_NO_START_LINE;
  if (chain.empty() || (!at_end && chain.size() < kMaxChain)) {
    return absl::InvalidArgumentError("no certificate in PEM, or one that does not parse");
  }
  return Certificate(std::move(chain));
}

std::vector<std::string> Certificate::Names(std::string_view field) const {
  for (const FieldName& known : kFields) {
    if (known.name != field) continue;
    return known.nid != NID_undef ? SubjectNames(known.nid) : AlternativeNames(known.alternative);
  }
  return {};
}

std::vector<std::string> Certificate::SubjectNames(int nid) const {
  std::vector<std::string> names;
  const X509_NAME* const subject = X509_get_subject_name(leaf());
  for (int i = -1; (i = X509_NAME_get_index_by_NID(subject, nid, i)) >= 0;) {
    std::optional<std::string> text = Text(X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, i)));
    if (text.has_value()) names.push_back(*std::move(text));
  }
  return names;
}

std::vector<std::string> Certificate::AlternativeNames(int type) const {
  std::vector<std::string> names;
  auto* const all = static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(leaf(), NID_subject_alt_name, nullptr, nullptr));
  if (all == nullptr) return names;
  for (int i = 0; i < sk_GENERAL_NAME_num(all); ++i) {
    const GENERAL_NAME* const name = sk_GENERAL_NAME_value(all, i);
    if (name->type != type) continue;
    std::optional<std::string> text = Text(name->d.ia5);  // the same member for the three types
    if (text.has_value()) names.push_back(*std::move(text));
  }
  GENERAL_NAMES_free(all);
  return names;
}

absl::Time Certificate::not_before() const {
  return ToTime(X509_get0_notBefore(leaf()));
}

absl::Time Certificate::not_after() const {
  return ToTime(X509_get0_notAfter(leaf()));
}

absl::Status CheckTlsFiles(const TlsFiles& files) {
  ASSIGN_OR_RETURN(const std::string certificate_pem, ReadPem("--tls-cert", files.certificate));
  ASSIGN_OR_RETURN(const std::string key_pem, ReadPem("--tls-key", files.key));
  ASSIGN_OR_RETURN(const std::string ca_pem, ReadPem("--tls-ca", files.ca));
  const absl::StatusOr<Certificate> certificate = Certificate::ParsePem(certificate_pem);
  if (!certificate.ok()) return Wrong("--tls-cert", files.certificate, certificate.status().message());
  RETURN_IF_ERROR(CheckKey(files.key, key_pem, *certificate, files.certificate));
  const absl::StatusOr<Certificate> ca = Certificate::ParsePem(ca_pem);
  if (!ca.ok()) return Wrong("--tls-ca", files.ca, ca.status().message());
  const absl::Time now = absl::Now();
  if (now < certificate->not_before() || now > certificate->not_after()) {
    return Wrong("--tls-cert", files.certificate,
                 absl::StrCat("is valid from ", absl::FormatTime(certificate->not_before(), absl::UTCTimeZone()),
                              " to ", absl::FormatTime(certificate->not_after(), absl::UTCTimeZone()), ", not now"));
  }
  return absl::OkStatus();
}

}  // namespace droidspeak
