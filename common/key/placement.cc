// SPDX-License-Identifier: Apache-2.0
#include "common/key/placement.h"

#include <xxhash.h>

#include <algorithm>
#include <numeric>
#include <utility>

namespace droidspeak {

uint64_t PlacementScore(const Digest& stripe_key, std::string_view server_name) {
  std::string input(stripe_key.view());
  input.append(server_name);
  return XXH3_64bits(input.data(), input.size());
}

std::vector<size_t> PlacementOrder(const Digest& stripe_key, absl::Span<const std::string> server_names) {
  std::vector<uint64_t> scores(server_names.size());
  for (size_t i = 0; i < scores.size(); ++i) scores[i] = PlacementScore(stripe_key, server_names[i]);
  std::vector<size_t> order(server_names.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return scores[a] != scores[b] ? scores[a] > scores[b] : server_names[a] < server_names[b];
  });
  return order;
}

}  // namespace droidspeak
