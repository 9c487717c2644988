// SPDX-License-Identifier: Apache-2.0
// One reliable connected queue pair, and what has been posted to it and not ended.
#pragma once

#include <infiniband/verbs.h>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/transport/verbs/device.h"
#include "common/transport/verbs/frame.h"
#include "common/transport/verbs/introduction.h"
#include "common/transport/verbs/resources.h"

namespace droidspeak::verbs {

// Pieces of transfers under way at a time.
inline constexpr size_t kMostPieces = 64;
inline constexpr size_t kMostSendRequests = kMostPieces + kSends;

// What ends when its work request does.
struct Posted {
  static constexpr uint64_t kFrame = ~uint64_t{0};
  uint64_t transfer;  // its number, or kFrame
};

// Work requests are collected and posted as one list; few of them are signalled, the last one always, and the
// completion of one is that of all before it. Not thread-safe.
class QueuePair {
 public:
  // In the state INIT, in `domain`, with completions in `completions`. `remote_access`: the peer may read and write
  // what is registered for it in the domain.
  [[nodiscard]] static absl::StatusOr<QueuePair> Create(const Device& device, ibv_pd* domain, ibv_cq* completions,
                                                        bool remote_access);

  // Ready to receive and to send, to number `index` of `peer`.
  [[nodiscard]] absl::Status Connect(const Device& device, const Introduction& peer, size_t index);

  Introduction::QueuePairNumber number() const { return {queue_pair_->qp_num, first_packet_}; }

  // Posts a receive of `bytes` at `memory`, at once.
  [[nodiscard]] absl::Status Receive(uint64_t id, std::byte* memory, uint32_t bytes, uint32_t key);

  // Adds to the list. Frames and pieces have bounds of their own, which the caller keeps.
  void Add(const Posted& what, ibv_wr_opcode opcode, const ibv_sge& local, uint64_t remote = 0,
           uint32_t remote_key = 0);
  // Posts the list, with `id` for its completions.
  [[nodiscard]] absl::Status Post(uint64_t id);
  bool has_list() const { return !list_.empty(); }

  // The oldest signalled one has been completed: what ended.
  std::vector<Posted> TakeCompleted();
  size_t pieces() const { return pieces_; }
  bool idle() const { return posted_.empty() && list_.empty(); }

 private:
  QueuePair(OwnedQueuePair queue_pair, uint32_t first_packet, uint32_t max_inline)
      : queue_pair_(std::move(queue_pair)), first_packet_(first_packet), max_inline_(max_inline) {}

  OwnedQueuePair queue_pair_;
  uint32_t first_packet_;
  uint32_t max_inline_;
  std::vector<ibv_send_wr> list_;
  std::vector<ibv_sge> places_;   // of list_
  std::deque<Posted> posted_;     // and not completed, list_ included
  std::deque<size_t> signalled_;  // how many of them end with each completion
  size_t pieces_ = 0;
};

}  // namespace droidspeak::verbs
