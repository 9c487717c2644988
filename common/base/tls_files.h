// SPDX-License-Identifier: Apache-2.0
// The files by which a program proves who it is, and knows others.
#pragma once

#include <string>

namespace droidspeak {

// PEM files: a certificate (with its chain), its key, and the certificates of the authorities whose signature is
// believed in others. All three are given, or none. They may be replaced while the program runs.
struct TlsFiles {
  std::string certificate;
  std::string key;
  std::string ca;

  bool empty() const { return certificate.empty() && key.empty() && ca.empty(); }
};

}  // namespace droidspeak
