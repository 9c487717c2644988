// SPDX-License-Identifier: Apache-2.0
// Ownership of texts that cross the C ABI of rust_api.h.
#pragma once

#include <cstdint>
#include <string_view>

#include "engine/tokenizer/rust_api.h"

namespace droidspeak {

// Holds one text of the Rust side and gives it back when destroyed.
class RustText {
 public:
  RustText() = default;
  explicit RustText(DsText text) : text_(text) {}
  ~RustText() { ds_text_free(text_); }
  RustText(const RustText&) = delete;
  RustText& operator=(const RustText&) = delete;

  DsText* get() { return &text_; }  // to be written once
  std::string_view view() const { return {reinterpret_cast<const char*>(text_.data), text_.size}; }

 private:
  DsText text_ = {};
};

inline const uint8_t* RustBytes(std::string_view text) {
  return reinterpret_cast<const uint8_t*>(text.data());
}

}  // namespace droidspeak
