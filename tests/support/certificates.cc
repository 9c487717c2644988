// SPDX-License-Identifier: Apache-2.0
#include "tests/support/certificates.h"

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>

#include "absl/strings/str_join.h"
#include "common/base/check.h"
#include "common/base/files.h"

namespace droidspeak {
namespace {

using Key = std::shared_ptr<evp_pkey_st>;
using Cert = std::shared_ptr<x509_st>;

Key NewKey() {
  return {EVP_EC_gen("P-256"), EVP_PKEY_free};
}

void AddName(X509_NAME* name, const char* field, const std::string& value) {
  DROIDSPEAK_CHECK(X509_NAME_add_entry_by_txt(name, field, MBSTRING_UTF8,
                                              reinterpret_cast<const unsigned char*>(value.c_str()), -1, -1, 0) == 1);
}

void AddExtension(X509* certificate, int nid, const std::string& value) {
  X509_EXTENSION* const extension = X509V3_EXT_conf_nid(nullptr, nullptr, nid, value.c_str());
  DROIDSPEAK_CHECK(extension != nullptr && X509_add_ext(certificate, extension, -1) == 1);
  X509_EXTENSION_free(extension);
}

// Unsigned. An expired one began two hours before now.
Cert NewCertificate(const Key& key, const CertificateRequest& request) {
  Cert certificate(X509_new(), X509_free);
  X509_set_version(certificate.get(), X509_VERSION_3);
  uint64_t serial = 0;
  RAND_bytes(reinterpret_cast<unsigned char*>(&serial), sizeof(serial));
  ASN1_INTEGER_set_uint64(X509_get_serialNumber(certificate.get()), serial >> 1);
  X509_gmtime_adj(X509_getm_notBefore(certificate.get()), -7200);
  X509_gmtime_adj(X509_getm_notAfter(certificate.get()), absl::ToInt64Seconds(request.valid_for));
  X509_set_pubkey(certificate.get(), key.get());
  X509_NAME* const subject = X509_get_subject_name(certificate.get());
  AddName(subject, "CN", request.common_name);
  for (const std::string& unit : request.units) AddName(subject, "OU", unit);
  if (!request.alternatives.empty()) {
    AddExtension(certificate.get(), NID_subject_alt_name, absl::StrJoin(request.alternatives, ","));
  }
  return certificate;
}

template <typename Write>
void WritePem(const std::string& path, Write write) {
  BIO* const bio = BIO_new(BIO_s_mem());
  DROIDSPEAK_CHECK(write(bio) == 1);
  char* bytes = nullptr;
  const long size = BIO_get_mem_data(bio, &bytes);
  DROIDSPEAK_CHECK(WriteFileAtomically(path, std::string_view(bytes, static_cast<size_t>(size)), 0600).ok());
  BIO_free(bio);
}

}  // namespace

TestAuthority::TestAuthority() : key_(NewKey()) {
  certificate_ = NewCertificate(key_, {"test authority", {}, {}, absl::Hours(1)});
  AddExtension(certificate_.get(), NID_basic_constraints, "critical,CA:TRUE");
  X509_set_issuer_name(certificate_.get(), X509_get_subject_name(certificate_.get()));
  DROIDSPEAK_CHECK(X509_sign(certificate_.get(), key_.get(), EVP_sha256()) > 0);
}

TlsFiles TestAuthority::Issue(const std::string& folder, const std::string& name,
                              const CertificateRequest& request) const {
  const Key key = NewKey();
  const Cert certificate = NewCertificate(key, request);
  X509_set_issuer_name(certificate.get(), X509_get_subject_name(certificate_.get()));
  DROIDSPEAK_CHECK(X509_sign(certificate.get(), key_.get(), EVP_sha256()) > 0);
  const std::string base = folder + "/" + name;
  const TlsFiles files{base + ".crt", base + ".key", base + "-ca.crt"};
  WritePem(files.key,
           [&](BIO* bio) { return PEM_write_bio_PrivateKey(bio, key.get(), nullptr, nullptr, 0, nullptr, nullptr); });
  WritePem(files.certificate, [&](BIO* bio) { return PEM_write_bio_X509(bio, certificate.get()); });
  WritePem(files.ca, [&](BIO* bio) { return PEM_write_bio_X509(bio, certificate_.get()); });
  return files;
}

}  // namespace droidspeak
