// SPDX-License-Identifier: Apache-2.0
// Small random checkpoints for tests, written as Hugging Face does.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "engine/model/model.h"
#include "engine/model/runtime_adapter.h"

namespace droidspeak {

struct TinyModel {
  uint64_t seed = 1;
  // Weights are (1 - drift) x those of `seed` + drift x those of `drift_seed`: a fine-tuned variant of the same base.
  uint64_t drift_seed = 0;
  double drift = 0;
  int layers = 4;
  int hidden = 32;
  int heads = 4;
  int kv_heads = 2;
  int intermediate = 48;
  int vocab = 61;
  int max_positions = 512;
  bool tied = false;
  int window = 0;  // > 0: Mistral with a sliding window
  double rope_theta = 10000;
  bool llama3 = false;  // RoPE scaling
  bool dynamic = false;
  int longrope = 0;  // > 0: the original length
};

// Writes config.json and model.safetensors (F32) under `dir`, which must exist.
void WriteTinyModel(const std::string& dir, const TinyModel& model);

// A PEFT adapter of rank 4 on q, v, gate and down.
void WriteTinyAdapter(const std::string& dir, const TinyModel& model, uint64_t seed);

// Writes it to a folder that lives as long as the test program, and loads it in fp32.
std::shared_ptr<const Model> LoadTinyModel(const TinyModel& model);
// The same with an adapter.
std::shared_ptr<const Model> LoadTinyModelWithAdapter(const TinyModel& model, uint64_t adapter_seed);

// That adapter, to be applied beside `base`, which LoadTinyModel gave for `model`.
std::shared_ptr<const RuntimeAdapter> LoadTinyAdapter(const std::shared_ptr<const Model>& base, const TinyModel& model,
                                                      uint64_t adapter_seed);

// Token ids below the model's vocabulary.
std::vector<int32_t> RandomTokens(int64_t count, int vocab, uint64_t seed);

}  // namespace droidspeak
