// SPDX-License-Identifier: Apache-2.0
#include "cacheserver/service/turn_queue.h"

#include <utility>

#include "cacheserver/service/peer.h"

namespace droidspeak {

void TurnQueue::Push(std::shared_ptr<Transfer> transfer) {
  if (transfer->peer() == nullptr) return;
  const uint64_t session = transfer->peer()->session()->id();
  auto& line = lines_[session];
  if (line.empty()) order_.push_back(session);
  line.push_back(std::move(transfer));
}

std::shared_ptr<Transfer> TurnQueue::Pop() {
  const uint64_t session = order_.front();
  order_.pop_front();
  const auto line = lines_.find(session);
  std::shared_ptr<Transfer> transfer = std::move(line->second.front());
  line->second.pop_front();
  if (line->second.empty()) {
    lines_.erase(line);
  } else {
    order_.push_back(session);
  }
  return transfer;
}

}  // namespace droidspeak
