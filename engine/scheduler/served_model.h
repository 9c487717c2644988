// SPDX-License-Identifier: Apache-2.0
// What requests may name: the engine's model, or an adapter that is applied beside it.
#pragma once

#include <memory>
#include <string>

#include "engine/model/runtime_adapter.h"
#include "engine/prefill/remote_cache.h"

namespace droidspeak {

struct ServedModel {
  std::string name;
  std::shared_ptr<const RuntimeAdapter> adapter;  // null: the model as it is
  ModelNamespaces own;                            // of its cache; without cache servers none
};

}  // namespace droidspeak
