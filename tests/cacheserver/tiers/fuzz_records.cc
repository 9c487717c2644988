// SPDX-License-Identifier: Apache-2.0
// libFuzzer target: rows and headers of the store on disk. What decodes must encode to the same bytes. The first byte
// chooses the record, the second the length of its key.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "cacheserver/tiers/records.h"
#include "common/base/check.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace droidspeak;  // NOLINT(google-build-using-namespace)
  if (size < 2 || data[1] > size - 2) return 0;
  const std::string_view key(reinterpret_cast<const char*>(data) + 2, data[1]);
  const std::string_view value(reinterpret_cast<const char*>(data) + 2 + data[1], size - 2 - data[1]);
  switch (data[0] % 5) {
    case 0:
      // Of another version only the version is read.
      if (const auto row = StoreRow::Decode(value); row.ok() && row->format_version == kStoreFormatVersion) {
        DROIDSPEAK_CHECK(row->Encode() == value);
      }
      break;
    case 1:
      if (const auto row = NamespaceRow::Decode(key, value); row.ok()) DROIDSPEAK_CHECK(row->Encode() == value);
      break;
    case 2:
      if (const auto row = BlockRow::Decode(key, value); row.ok()) DROIDSPEAK_CHECK(row->Encode() == value);
      break;
    case 3:
      (void)ExtentHeader::Decode(value);
      break;
    default:
      if (const auto row = PinRow::Decode(key, value); row.ok()) DROIDSPEAK_CHECK(row->Encode() == value);
  }
  return 0;
}
