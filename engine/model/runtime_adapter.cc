// SPDX-License-Identifier: Apache-2.0
#include "engine/model/runtime_adapter.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/status.h"
#include "engine/model/linear.h"
#include "engine/model/lora.h"
#include "engine/model/projections.h"
#include "engine/model/torch_types.h"

namespace droidspeak {

std::vector<RuntimeAdapter::Part> RuntimeAdapter::PartsOf(const LoraAdapter& adapter, int64_t layer,
                                                          const std::vector<Projection>& projections) const {
  const at::ScalarType type = ScalarType(base_->dtype());
  std::vector<Part> parts;
  int64_t first = 0;
  for (const Projection& projection : projections) {
    const LoraFactors factors = adapter.Factors(absl::StrCat("model.layers.", layer, ".", projection.module));
    if (factors.a.defined()) {
      parts.push_back(
          {.first = first, .a = Weight(factors.a.to(type).contiguous()), .b = (factors.b * factors.scale).to(type)});
    }
    first += projection.out;
  }
  return parts;
}

absl::StatusOr<std::shared_ptr<const RuntimeAdapter>> RuntimeAdapter::Load(const std::string& dir,
                                                                           std::shared_ptr<const Model> base) {
  DROIDSPEAK_CHECK(base->path().adapter.empty());
  return WithoutExceptions(
      absl::StrCat("loading adapter '", dir, "'"), [&]() -> absl::StatusOr<std::shared_ptr<const RuntimeAdapter>> {
        const at::NoGradGuard no_grad;
        const ModelConfig& config = base->config();
        ASSIGN_OR_RETURN(const std::unique_ptr<LoraAdapter> adapter, LoraAdapter::Load(dir, config));
        std::shared_ptr<RuntimeAdapter> loaded(new RuntimeAdapter(dir, base));
        const LayerProjections projections = ProjectionsOf(config);
        for (int64_t layer = 0; layer < config.layers; ++layer) {
          Layer& products = loaded->layers_.emplace_back();
          for (const auto* of : {&projections.qkv, &projections.o, &projections.gate_up, &projections.down}) {
            products.push_back(loaded->PartsOf(*adapter, layer, *of));
          }
        }
        return loaded;
      });
}

int64_t RuntimeAdapter::weight_bytes() const {
  size_t bytes = 0;
  for (const Layer& layer : layers_) {
    for (const std::vector<Part>& parts : layer) {
      for (const Part& part : parts) bytes += part.a.memory().nbytes() + part.b.nbytes();
    }
  }
  return static_cast<int64_t>(bytes);
}

void RuntimeAdapter::AddTo(int64_t layer, Product product, const at::Tensor& x, int64_t first,
                           const at::Tensor& y) const {
  const int64_t end = first + y.size(1);
  for (const Part& part : layers_[layer][static_cast<size_t>(product)]) {
    const int64_t from = std::max(first, part.first), to = std::min(end, part.first + part.b.size(0));
    if (from >= to) continue;
    const at::Tensor b = part.b.narrow(0, from - part.first, to - from);
    y.narrow(1, from - first, to - from).addmm_(Linear(x, part.a, {}), b.t());
  }
}

}  // namespace droidspeak
