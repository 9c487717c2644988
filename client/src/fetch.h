// SPDX-License-Identifier: Apache-2.0
// A fetch, spread over the servers that hold its blocks.
#pragma once

#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "client/src/link.h"
#include "client/src/reactor.h"
#include "client/src/region.h"
#include "droidspeak/client.h"

namespace droidspeak {

// One server's share of a fetch: the blocks, by their indices in the fetch, in chain order.
struct FetchPart {
  std::shared_ptr<Link> link;
  uint32_t namespace_id = 0;
  std::vector<int> blocks;
};

// What a fetch knows, shared by the caller's Fetch and by the links, which may still write to its destinations after
// the caller has gone. Thread-safe.
class FetchState {
 public:
  FetchState(Reactor& reactor, Layout layout, std::vector<PlacedItem> items, std::vector<Digest> blocks,
             std::vector<uint32_t> slots, std::vector<FetchPart> parts, bool verify);

  // Sends each part's request. `self` is the shared pointer that owns this object.
  void Start(const std::shared_ptr<FetchState>& self, absl::Duration deadline, bool prefetch);

  int AcceptedBlocks(absl::Time deadline);
  int Wait(int item, int blocks, absl::Time deadline);
  int Ready(int item);
  bool Settled(int item, int blocks);
  FetchStats stats() const;
  void SendCancels();
  // Whether no byte will land any more.
  bool proven() const;
  // Until it is so; false when the deadline came first.
  bool WaitUntilProven(absl::Time deadline);
  // Gives up the links whose servers have not confirmed.
  void CloseUnproven(const absl::Status& why);
  // Puts the destinations of unproven parts into quarantine.
  void QuarantineUnproven();

 private:
  class Part;  // the Pending of one server
  enum class Extent : uint8_t { kAwaited, kLanded, kVerifying, kGood, kMissing };

  bool OnAnswer(int part, const wire::Message& message);
  void OnAccepted(int part, const wire::FetchAccepted& accepted) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void OnLayerDone(int part, const wire::LayerDone& done) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // No more will arrive of a part from its block `from` on.
  void LosePart(int part, int from) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void EndPart(int part, bool proven);
  bool Verify(int item, int block, uint64_t checksum) const;
  bool AllProven() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  size_t at(int item, int block) const { return static_cast<size_t>(item) * blocks_.size() + block; }

  struct PartState {
    uint64_t request_id = 0;
    int accepted = -1;    // blocks; -1: no answer yet
    bool ended = false;   // no more will arrive
    bool proven = false;  // no byte will land any more
  };

  Reactor& reactor_;  // of callers: links may outlive it
  const Layout layout_;
  const std::vector<PlacedItem> items_;
  const std::vector<Digest> blocks_;
  const std::vector<uint32_t> slots_;
  const std::vector<FetchPart> parts_;
  const bool verify_;

  mutable absl::Mutex mutex_;
  std::vector<Extent> extents_ ABSL_GUARDED_BY(mutex_);      // items x blocks
  std::vector<uint64_t> checksums_ ABSL_GUARDED_BY(mutex_);  // items x blocks
  std::vector<PartState> states_ ABSL_GUARDED_BY(mutex_);
  FetchStats stats_ ABSL_GUARDED_BY(mutex_);
};

// The caller's handle.
class FetchImpl : public Fetch {
 public:
  FetchImpl(std::shared_ptr<FetchState> state, absl::Duration cancel_timeout)
      : state_(std::move(state)), cancel_timeout_(cancel_timeout) {}
  ~FetchImpl() override;

  int AcceptedBlocks(absl::Time deadline) override { return state_->AcceptedBlocks(deadline); }
  int Wait(int item, int blocks, absl::Time deadline) override { return state_->Wait(item, blocks, deadline); }
  int Ready(int item) override { return state_->Ready(item); }
  bool Settled(int item, int blocks) override { return state_->Settled(item, blocks); }
  bool Cancel(absl::Time deadline) override;
  FetchStats stats() const override { return state_->stats(); }

 private:
  const std::shared_ptr<FetchState> state_;
  const absl::Duration cancel_timeout_;
};

}  // namespace droidspeak
