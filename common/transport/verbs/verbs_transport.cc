// SPDX-License-Identifier: Apache-2.0
#include "common/transport/verbs/verbs_transport.h"

#include <iterator>

#include "common/transport/verbs/resources.h"
#include "common/transport/verbs/verbs_worker.h"

namespace droidspeak {

std::vector<Transport::Resource> VerbsTransport::resources() const {
  static constexpr const char* kNames[] = {"protection_domains", "memory_regions", "completion_queues", "queue_pairs"};
  static_assert(std::size(kNames) == static_cast<size_t>(verbs::Resource::kCount));
  std::vector<Resource> all;
  for (size_t i = 0; i < std::size(kNames); ++i) all.push_back({kNames[i], verbs::resource_counts[i]});
  all.push_back({"remote_access_errors", verbs::remote_access_errors});
  return all;
}

absl::StatusOr<std::unique_ptr<Worker>> VerbsTransport::CreateWorker() const {
  return verbs::VerbsWorker::Create(queue_pairs_);
}

}  // namespace droidspeak
