// SPDX-License-Identifier: Apache-2.0
#include "engine/tokenizer/tokenizer.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/files.h"
#include "common/base/status.h"
#include "common/base/text.h"
#include "engine/tokenizer/rust_api.h"
#include "engine/tokenizer/rust_text.h"

namespace droidspeak {
namespace {

constexpr uint64_t kMaxTokenizerBytes = 256LL << 20;  // the largest seen is 34 MB

}  // namespace

bool Tokenizer::Exists(const std::filesystem::path& directory) {
  std::error_code error;
  return std::filesystem::is_regular_file(directory / "tokenizer.json", error);
}

absl::StatusOr<std::unique_ptr<Tokenizer>> Tokenizer::Load(const std::filesystem::path& directory) {
  const std::filesystem::path path = directory / "tokenizer.json";
  ASSIGN_OR_RETURN(const std::string json, ReadFile(path, kMaxTokenizerBytes));
  RustText error;
  DsTokenizer* handle = ds_tokenizer_load(RustBytes(json), json.size(), error.get());
  if (handle == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat(
        path.string(), ": expected a tokenizer of Hugging Face's tokenizers 0.22: ", ToAbsl(error.view())));
  }
  const uint32_t size = ds_tokenizer_vocabulary_size(handle);
  if (size == 0 || size > static_cast<uint32_t>(std::numeric_limits<int32_t>::max())) {
    ds_tokenizer_free(handle);
    return absl::InvalidArgumentError(
        absl::StrCat(path.string(), ": expected token ids from 0 to 2^31 - 2, the vocabulary ends at ", size));
  }
  return std::unique_ptr<Tokenizer>(new Tokenizer(handle, static_cast<int32_t>(size)));
}

Tokenizer::~Tokenizer() {
  ds_tokenizer_free(handle_);
}

absl::StatusOr<std::vector<int32_t>> Tokenizer::Encode(std::string_view text, bool add_special_tokens) const {
  RustText error;
  DsIds ids = {};
  if (!ds_tokenizer_encode(handle_, RustBytes(text), text.size(), add_special_tokens, &ids, error.get())) {
    return absl::InvalidArgumentError(absl::StrCat("encoding text: ", ToAbsl(error.view())));
  }
  std::vector<int32_t> result(ids.data, ids.data + ids.size);
  ds_ids_free(ids);
  return result;
}

absl::StatusOr<std::string> Tokenizer::Decode(absl::Span<const int32_t> ids, bool skip_special_tokens) const {
  const auto negative = std::find_if(ids.begin(), ids.end(), [](int32_t id) { return id < 0; });
  if (negative != ids.end()) {
    return absl::InvalidArgumentError(
        absl::StrCat("decoding: token ", negative - ids.begin(), " is ", *negative, ", expected an id of 0 or more"));
  }
  RustText text;
  RustText error;
  // Signed and unsigned versions of a type may alias.
  if (!ds_tokenizer_decode(handle_, reinterpret_cast<const uint32_t*>(ids.data()), ids.size(), skip_special_tokens,
                           text.get(), error.get())) {
    return absl::InvalidArgumentError(absl::StrCat("decoding tokens: ", ToAbsl(error.view())));
  }
  return std::string(text.view());
}

std::optional<std::string> Tokenizer::TokenString(int32_t id) const {
  RustText text;
  if (id < 0 || !ds_tokenizer_token(handle_, static_cast<uint32_t>(id), text.get())) return std::nullopt;
  return std::string(text.view());
}

}  // namespace droidspeak
