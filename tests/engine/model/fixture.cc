// SPDX-License-Identifier: Apache-2.0
#include "tests/engine/model/fixture.h"

#include <ATen/ops/from_blob.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <iostream>
#include <sstream>

#include "common/base/check.h"

namespace droidspeak {

std::string TestData(const std::string& name) {
  return std::string(DROIDSPEAK_MODEL_TESTDATA) + "/" + name;
}

std::shared_ptr<const Model> LoadTestModel(const std::string& name, Dtype dtype) {
  const size_t plus = name.find('+');
  std::string spec = TestData(name.substr(0, plus));
  if (plus != std::string::npos) spec += "+" + TestData(name.substr(plus + 1));
  auto model = Model::Load(spec, dtype);
  if (!model.ok()) std::cerr << model.status() << "\n";
  DROIDSPEAK_CHECK(model.ok());
  return *model;
}

at::Tensor ReadTensor(const std::string& file, const std::string& name) {
  const auto checkpoint = Checkpoint::OpenFile(file);
  if (!checkpoint.ok()) std::cerr << checkpoint.status() << "\n";
  DROIDSPEAK_CHECK(checkpoint.ok());
  const StoredTensor& stored = *checkpoint->Find(name).value();
  const at::ScalarType type = stored.dtype == "F32" ? at::kFloat : stored.dtype == "I32" ? at::kInt : at::kLong;
  return at::from_blob(const_cast<std::byte*>(stored.bytes.data()), stored.shape, type).clone();
}

std::vector<int32_t> GoldenTokens(const std::string& name, int64_t count) {
  const at::Tensor tokens = ReadTensor(TestData(name) + "/golden.safetensors", "tokens");
  DROIDSPEAK_CHECK(count <= tokens.numel());
  return {tokens.data_ptr<int32_t>(), tokens.data_ptr<int32_t>() + count};
}

float MaxDifference(const at::Tensor& a, const at::Tensor& b) {
  return (a.to(at::kFloat) - b.to(at::kFloat)).abs().max().item<float>();
}

bool FailsNaming(const absl::Status& status, const std::vector<std::string>& parts) {
  bool names_all = !status.ok();
  for (const std::string& part : parts) {
    names_all = names_all && std::string(status.message()).find(part) != std::string::npos;
  }
  if (!names_all) std::cerr << "got: " << status << "\n";
  return names_all;
}

void WriteText(const std::string& path, const std::string& text) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << text;
}

std::string ReadText(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}

std::string SafetensorsBytes(const std::string& header, size_t data_bytes) {
  const uint64_t length = header.size();
  return std::string(reinterpret_cast<const char*>(&length), sizeof(length)) + header + std::string(data_bytes, '\0');
}

ScratchDir::ScratchDir(const std::string& name) {
  std::string pattern = (std::filesystem::temp_directory_path() / "droidspeak-model-XXXXXX").string();
  DROIDSPEAK_CHECK(::mkdtemp(pattern.data()) != nullptr);
  path_ = pattern;
  if (!name.empty()) {
    std::filesystem::copy(TestData(name), path_,
                          std::filesystem::copy_options::recursive | std::filesystem::copy_options::overwrite_existing);
  }
}

ScratchDir::~ScratchDir() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

void ScratchDir::EditJson(const std::string& name, const std::function<void(nlohmann::ordered_json&)>& edit) const {
  auto json = nlohmann::ordered_json::parse(ReadText(*this / name));
  edit(json);
  WriteText(*this / name, json.dump());
}

void ScratchDir::EditTensors(const std::string& name,
                             const std::function<void(std::vector<TensorToWrite>&)>& edit) const {
  const auto checkpoint = Checkpoint::OpenFile(*this / name);
  DROIDSPEAK_CHECK(checkpoint.ok());
  std::vector<TensorToWrite> tensors;
  for (const auto& [tensor_name, stored] : checkpoint->tensors()) {
    tensors.push_back({.name = tensor_name, .dtype = stored.dtype, .shape = stored.shape, .bytes = stored.bytes});
  }
  edit(tensors);
  DROIDSPEAK_CHECK(WriteSafetensors(*this / name, tensors).ok());  // replaces the file; the mapping keeps the old one
}

}  // namespace droidspeak
