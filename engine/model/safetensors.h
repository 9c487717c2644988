// SPDX-License-Identifier: Apache-2.0
// safetensors files (https://huggingface.co/docs/safetensors): an 8-byte header length, a JSON header, tensor bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace droidspeak {

// One tensor of a file; `bytes` points into the mapping.
struct StoredTensor {
  std::string dtype;  // as stored: "F32", "BF16", "F16", "I64", "I32", ...
  std::vector<int64_t> shape;
  absl::Span<const std::byte> bytes;
};

// A mapped file. The header is checked wholly at Open: every offset lies in the file, ranges neither overlap nor leave
// holes, sizes equal shape times dtype. Immutable; any thread may read. Shorter copies of the file made while it is
// mapped are the caller's loss (SIGBUS), as with any mapping.
class SafetensorsFile {
 public:
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<SafetensorsFile>> Open(const std::string& path);
  ~SafetensorsFile();
  SafetensorsFile(const SafetensorsFile&) = delete;
  SafetensorsFile& operator=(const SafetensorsFile&) = delete;

  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] const std::map<std::string, StoredTensor>& tensors() const { return tensors_; }

 private:
  SafetensorsFile(std::string path, void* memory, size_t bytes)
      : path_(std::move(path)), memory_(memory), bytes_(bytes) {}

  std::string path_;
  void* memory_;
  size_t bytes_;
  std::map<std::string, StoredTensor> tensors_;
};

// All tensors of a checkpoint folder: model.safetensors, or the shards that model.safetensors.index.json names.
class Checkpoint {
 public:
  [[nodiscard]] static absl::StatusOr<Checkpoint> Open(const std::string& dir);
  // A single file as a checkpoint (adapters).
  [[nodiscard]] static absl::StatusOr<Checkpoint> OpenFile(const std::string& path);

  [[nodiscard]] const std::map<std::string, StoredTensor>& tensors() const { return tensors_; }
  // Every file the checkpoint was read from.
  [[nodiscard]] std::vector<std::string> paths() const;
  // The tensor, or NOT_FOUND naming it and the checkpoint.
  [[nodiscard]] absl::StatusOr<const StoredTensor*> Find(const std::string& name) const;

 private:
  std::string source_;
  std::vector<std::unique_ptr<SafetensorsFile>> files_;
  std::map<std::string, StoredTensor> tensors_;
};

// Gives back the memory that reading `tensor` took: whoever is done with a tensor of a mapped file calls it, so that a
// process never holds a checkpoint twice. Reading it again is right, but slow.
void ReleasePages(const StoredTensor& tensor);

// What WriteSafetensors writes; names must be distinct.
struct TensorToWrite {
  std::string name;
  std::string dtype;
  std::vector<int64_t> shape;
  absl::Span<const std::byte> bytes;
};

// Writes `path` whole or not at all: a temporary file beside it, then a rename.
[[nodiscard]] absl::Status WriteSafetensors(const std::string& path, absl::Span<const TensorToWrite> tensors);

}  // namespace droidspeak
