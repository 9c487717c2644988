// SPDX-License-Identifier: Apache-2.0
#include "engine/prefill/fill_context.h"

#include <algorithm>
#include <memory>
#include <numeric>

#include "absl/time/clock.h"
#include "common/base/status.h"
#include "engine/prefill/partial_prefill.h"
#include "engine/prefill/sequence.h"
#include "engine/prefill/server_source.h"
#include "engine/prefill/store_back.h"

namespace droidspeak {
namespace {

constexpr absl::Duration kSealTimeout = absl::Seconds(60);

}  // namespace

absl::StatusOr<int64_t> FillContext(RemoteCache& servers, const Model& model, const ModelNamespaces& namespaces,
                                    const FillRequest& request) {
  const int64_t reach = std::max(request.reach, static_cast<int64_t>(request.tokens.size()));
  const NamespaceHandle* const ns = namespaces.For(reach);
  if (ns == nullptr) return 0;
  const int64_t block = ns->layout.block_tokens;
  const absl::Span<const int32_t> full = request.tokens.subspan(0, request.tokens.size() / block * block);
  if (full.empty()) return 0;
  std::vector<int64_t> layers(model.config().layers);
  std::iota(layers.begin(), layers.end(), 0);
  ASSIGN_OR_RETURN(
      const std::unique_ptr<StoreBack> store,
      StoreBack::Start(servers, model.config(), full, {.ns = *ns, .kv_layers = layers, .e_layers = request.e_layers}));
  int64_t computed = 0;
  if (store->wants_any()) {
    ASSIGN_OR_RETURN(Sequence sequence, Sequence::Create(model, static_cast<int64_t>(full.size())));
    ServerSource own(servers,
                     {.tokens = full.subspan(0, full.size() - 1), .own = *ns, .own_e_layers = request.e_layers});
    ASSIGN_OR_RETURN(const PrefillResult result, PartialPrefill(model, *sequence.slab,
                                                                {.tokens = full,
                                                                 .run = sequence.run,
                                                                 .reach = reach,
                                                                 .plan = Plan::Full(model.config().layers),
                                                                 .source = &own,
                                                                 .capture = store.get()}));
    computed = static_cast<int64_t>(full.size()) - result.context_tokens;
  }
  RETURN_IF_ERROR(store->Finish(request.durable, absl::Now() + kSealTimeout));
  return computed;
}

}  // namespace droidspeak
