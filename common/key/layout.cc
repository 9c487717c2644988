// SPDX-License-Identifier: Apache-2.0
#include "common/key/layout.h"

#include <algorithm>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "common/base/status.h"

namespace droidspeak {
namespace {

std::string_view RegimeName(Regime regime) {
  return regime == Regime::kShort ? "short" : "long";
}

// Takes the fields of a layout one after the other, each under the name that must stand there.
class FieldReader {
 public:
  explicit FieldReader(std::string_view text) : fields_(absl::StrSplit(ToAbsl(text), ';')) {}

  bool AtEnd() const { return next_ == fields_.size(); }

  absl::Status Version(std::string_view expected) {
    if (fields_[0] != ToAbsl(expected)) {
      return absl::InvalidArgumentError(
          absl::StrCat("layout: begins with '", fields_[0], "', expected '", ToAbsl(expected), "'"));
    }
    ++next_;
    return absl::OkStatus();
  }

  absl::StatusOr<std::string> Text(std::string_view name) {
    if (AtEnd()) {
      return absl::InvalidArgumentError(absl::StrCat("layout: ends where field '", ToAbsl(name), "' was expected"));
    }
    const std::vector<std::string> parts = absl::StrSplit(fields_[next_], absl::MaxSplits('=', 1));
    if (parts.size() != 2 || parts[0] != name) {
      return absl::InvalidArgumentError(
          absl::StrCat("layout: field '", fields_[next_], "' where '", ToAbsl(name), "=' was expected"));
    }
    ++next_;
    return parts[1];
  }

  absl::StatusOr<uint32_t> Number(std::string_view name) {
    ASSIGN_OR_RETURN(const std::string text, Text(name));
    uint32_t value = 0;
    // The second half refuses "+8", " 8" and "08": one spelling a layout.
    if (!absl::SimpleAtoi(text, &value) || absl::StrCat(value) != text) {
      return absl::InvalidArgumentError(
          absl::StrCat("layout: field '", ToAbsl(name), "' is '", text, "', expected a whole number"));
    }
    return value;
  }

  absl::StatusOr<Dtype> Type(std::string_view name) {
    ASSIGN_OR_RETURN(const std::string text, Text(name));
    absl::StatusOr<Dtype> dtype = ParseDtype(text);
    if (!dtype.ok()) return Annotate(dtype.status(), absl::StrCat("layout: field '", ToAbsl(name), "'"));
    return dtype;
  }

 private:
  std::vector<std::string> fields_;  // at least one, perhaps empty
  size_t next_ = 0;
};

absl::Status CheckRange(std::string_view name, uint32_t value, uint32_t most) {
  if (value >= 1 && value <= most) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("layout: field '", ToAbsl(name), "' is ", value, ", expected 1 to ", most));
}

absl::StatusOr<Regime> ReadRegime(FieldReader& reader) {
  if (reader.AtEnd()) return Regime::kNone;
  ASSIGN_OR_RETURN(const std::string text, reader.Text("regime"));
  if (text == "short") return Regime::kShort;
  if (text == "long") return Regime::kLong;
  return absl::InvalidArgumentError(absl::StrCat("layout: field 'regime' is '", text, "', expected short or long"));
}

}  // namespace

std::string_view DtypeName(Dtype dtype) {
  return dtype == Dtype::kFp32 ? "fp32" : "bf16";
}

absl::StatusOr<Dtype> ParseDtype(std::string_view name) {
  if (name == "fp32") return Dtype::kFp32;
  if (name == "bf16") return Dtype::kBf16;
  return absl::InvalidArgumentError(absl::StrCat("type '", ToAbsl(name), "' is unknown, expected fp32 or bf16"));
}

absl::StatusOr<Layout> Layout::Parse(std::string_view text) {
  FieldReader reader(text);
  Layout layout;
  RETURN_IF_ERROR(reader.Version("v1"));
  ASSIGN_OR_RETURN(layout.layers, reader.Number("layers"));
  ASSIGN_OR_RETURN(layout.kv_heads, reader.Number("kv_heads"));
  ASSIGN_OR_RETURN(layout.head_dim, reader.Number("head_dim"));
  ASSIGN_OR_RETURN(layout.hidden, reader.Number("hidden"));
  ASSIGN_OR_RETURN(layout.block_tokens, reader.Number("block_tokens"));
  ASSIGN_OR_RETURN(layout.kv, reader.Type("kv"));
  ASSIGN_OR_RETURN(layout.e, reader.Type("e"));
  ASSIGN_OR_RETURN(const std::string key, reader.Text("key"));
  if (key != "pre-rope") {
    return absl::InvalidArgumentError(absl::StrCat("layout: field 'key' is '", key, "', expected pre-rope"));
  }
  ASSIGN_OR_RETURN(layout.regime, ReadRegime(reader));
  if (!reader.AtEnd()) {
    return absl::InvalidArgumentError("layout: a field follows 'regime', expected none");
  }
  RETURN_IF_ERROR(layout.Validate());
  return layout;
}

std::string Layout::ToString() const {
  std::string text = absl::StrCat("v1;layers=", layers, ";kv_heads=", kv_heads, ";head_dim=", head_dim);
  absl::StrAppend(&text, ";hidden=", hidden, ";block_tokens=", block_tokens, ";kv=", ToAbsl(DtypeName(kv)));
  absl::StrAppend(&text, ";e=", ToAbsl(DtypeName(e)), ";key=pre-rope");
  if (regime != Regime::kNone) absl::StrAppend(&text, ";regime=", ToAbsl(RegimeName(regime)));
  return text;
}

absl::Status Layout::Validate() const {
  RETURN_IF_ERROR(CheckRange("layers", layers, kMaxLayers));
  RETURN_IF_ERROR(CheckRange("kv_heads", kv_heads, kMaxHeads));
  RETURN_IF_ERROR(CheckRange("head_dim", head_dim, kMaxHeadDim));
  RETURN_IF_ERROR(CheckRange("hidden", hidden, kMaxHidden));
  RETURN_IF_ERROR(CheckRange("block_tokens", block_tokens, kMaxBlockTokens));
  const uint64_t largest = std::max(kv_bytes(), e_bytes());
  if (largest > kMaxExtentBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("layout: an extent has ", largest, " bytes, expected at most ", kMaxExtentBytes));
  }
  return absl::OkStatus();
}

}  // namespace droidspeak
