// SPDX-License-Identifier: Apache-2.0
// Shared by the model's tests: the committed tiny checkpoints, and copies of them that a test may spoil.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "ATen/TensorOperators.h"
#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "engine/model/model.h"
#include "engine/model/safetensors.h"
#include "nlohmann/json.hpp"

namespace droidspeak {

// tests/engine/model/testdata/NAME
[[nodiscard]] std::string TestData(const std::string& name);

// The model of testdata/NAME ("CASE" or "CASE+CASE/adapter-X"); a failure ends the test program.
[[nodiscard]] std::shared_ptr<const Model> LoadTestModel(const std::string& name, Dtype dtype);

// A tensor of FILE as a tensor of its own (F32, I32 and I64).
[[nodiscard]] at::Tensor ReadTensor(const std::string& file, const std::string& name);

// The prompt of testdata/CASE's golden: its first `count` tokens.
[[nodiscard]] std::vector<int32_t> GoldenTokens(const std::string& name, int64_t count);

[[nodiscard]] float MaxDifference(const at::Tensor& a, const at::Tensor& b);

// Whether `status` is an error whose message contains each of `parts`; the message is printed otherwise.
[[nodiscard]] bool FailsNaming(const absl::Status& status, const std::vector<std::string>& parts);

void WriteText(const std::string& path, const std::string& text);
[[nodiscard]] std::string ReadText(const std::string& path);
// The bytes of a safetensors file with this header and this much data (zeros).
[[nodiscard]] std::string SafetensorsBytes(const std::string& header, size_t data_bytes);

// A folder that goes away with it; at first a copy of testdata/NAME, if a name is given.
class ScratchDir {
 public:
  explicit ScratchDir(const std::string& name = "");
  ~ScratchDir();
  ScratchDir(const ScratchDir&) = delete;
  ScratchDir& operator=(const ScratchDir&) = delete;

  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] std::string operator/(const std::string& name) const { return path_ + "/" + name; }

  // Rewrites a JSON file of the folder.
  void EditJson(const std::string& name, const std::function<void(nlohmann::ordered_json&)>& edit) const;
  // Rewrites a safetensors file with edited tensors; bytes that an edit adds must live until it returns.
  void EditTensors(const std::string& name, const std::function<void(std::vector<TensorToWrite>&)>& edit) const;

 private:
  std::string path_;
};

}  // namespace droidspeak
