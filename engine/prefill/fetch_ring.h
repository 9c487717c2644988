// SPDX-License-Identifier: Apache-2.0
// Fetches of a request's extents through a bounded staging ring: as many as fit are under way, in the order wanted; the
// memory of what has been used is given to the next.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/time/time.h"
#include "droidspeak/client.h"
#include "engine/prefill/remote_cache.h"

namespace droidspeak {

// One kind of one layer, for blocks [first_block, first_block + blocks) of a chain.
struct FetchItem {
  const NamespaceHandle* ns = nullptr;
  const std::vector<Digest>* chain = nullptr;  // of the whole context
  Kind kind = Kind::kKv;
  int layer = 0;
  int first_block = 0;
  int blocks = 0;

  [[nodiscard]] int64_t extent_bytes() const { return static_cast<int64_t>(ns->layout.extent_bytes(kind)); }
  [[nodiscard]] int64_t bytes() const { return extent_bytes() * blocks; }
};

// Owns the fetches and, through `staging`, their memory, of at least the largest item. Ready, Wait and Data may be
// called from any thread; Start and Release by one.
class FetchRing {
 public:
  // What has not arrived `patience` after it was started is lost.
  FetchRing(Client& client, Staging staging, std::vector<FetchItem> items, absl::Duration patience);
  // Cancels what is under way. Staging that a server may still write to is not used again.
  ~FetchRing();
  FetchRing(const FetchRing&) = delete;
  FetchRing& operator=(const FetchRing&) = delete;

  // Starts the next items, in order, as far as memory is free.
  void Start();

  [[nodiscard]] int items() const { return static_cast<int>(items_.size()); }
  [[nodiscard]] const FetchItem& item(int index) const { return items_[index]; }
  [[nodiscard]] bool started(int index) const { return index < next_; }

  // Leading blocks of an item that have arrived and are verified; Wait waits for `blocks` of them, and returns fewer
  // when the others never will arrive. Items that are not started have none.
  [[nodiscard]] int Ready(int index);
  [[nodiscard]] int Wait(int index, int blocks);
  // Whether Wait would return at once, of an item that is started.
  [[nodiscard]] bool Settled(int index, int blocks);
  // After it the item is not waited for any more; that of the last started one for those that still need memory.
  [[nodiscard]] absl::Time deadline(int index) const;
  // Extents of a started item, block after block.
  [[nodiscard]] std::byte* Data(int index) const { return staging_.region().data() + offsets_[index]; }

  // The item's memory is used again. Only for items of which every block has arrived: what is late may still land.
  void Release(int index) { released_[index] = true; }

  [[nodiscard]] FetchStats stats() const;

 private:
  struct Batch {
    std::unique_ptr<Fetch> fetch;  // null when it could not be started
    int first_item = 0;
    absl::Time deadline;
  };

  bool Place(int index);  // finds memory for the item
  void StartBatch(int begin, int end);
  Fetch* FetchOf(int index, int* item_in_fetch) const;

  Client& client_;
  Staging staging_;
  const std::vector<FetchItem> items_;
  const absl::Duration patience_;
  std::vector<int64_t> offsets_;
  std::vector<char> released_;
  std::vector<Batch> batches_;
  std::vector<int> batch_of_;
  int oldest_ = 0;  // first item whose memory is in use
  int next_ = 0;    // first item not started
};

}  // namespace droidspeak
