// SPDX-License-Identifier: Apache-2.0
// The client of the cache service, for linking into inference engines.
//
// A Client holds a session with each server of a list and places stripes of 16 blocks over them. An engine names a
// chain of blocks (keys.h), asks for its coverage, fetches what a plan reuses into memory it allocated from the client,
// and stores what it computed. A server that is missing or dies turns into misses; no call waits longer than its
// deadline.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "common/base/tls_files.h"
#include "droidspeak/keys.h"

namespace droidspeak {

struct ServerAddress {
  std::string name;       // may be empty with a single server
  std::string host_port;  // of the server's --listen
};

// "[NAME=]HOST:PORT,...": with more than one server each needs a name. INVALID_ARGUMENT names the part that is wrong.
[[nodiscard]] absl::StatusOr<std::vector<ServerAddress>> ParseServers(const std::string& list);

struct ClientOptions {
  std::vector<ServerAddress> servers;
  std::string transport = "auto";  // or local, verbs, tcp, ucx: refuse anything else than that
  // This client's certificate and whom it believes. With them a server must show a certificate for the host in its
  // address, and all that leaves this host is encrypted; except over `ucx` and `verbs`, which `auto` never chooses
  // then.
  TlsFiles tls;
  bool verify_checksums = true;
  absl::Duration connect_timeout = absl::Seconds(5);
  absl::Duration request_timeout = absl::Seconds(2);  // coverage, offers and seals
};

// Of one fetch or store.
inline constexpr size_t kMaxBlocksPerRequest = 4096;

// Which layers of a block are there; bit l of word l/64.
struct BlockCoverage {
  std::array<uint64_t, 4> kv{};
  std::array<uint64_t, 4> e{};
};

// Memory that servers may transfer to and from. Owned by the caller; must not outlive its Client. Free it when no fetch
// or store uses it any more: it is withdrawn at once, and a server that is still transferring is cut off, which fails
// all that is under way with it. (The bytes stay mapped until those transfers have ended.)
class Region {
 public:
  virtual ~Region() = default;
  virtual std::byte* data() const = 0;
  virtual uint64_t bytes() const = 0;
};

// Where one (kind, layer) comes from or goes to: slot s of K (or E) lies at first + s * slot_stride, of V at second + s
// * slot_stride, as offsets into `region`. Layout of a slot: K and V each [kv_heads, block_tokens, head_dim], E
// [block_tokens, hidden], in the namespace's dtype.
struct TransferItem {
  Kind kind = Kind::kKv;
  int layer = 0;
  const Region* region = nullptr;
  uint64_t first = 0;
  uint64_t second = 0;
  uint64_t slot_stride = 0;
};

// Bytes and extents that a fetch moved, and from which tier: gpu, host, rocksdb.
struct FetchStats {
  uint64_t kv_bytes = 0;
  uint64_t e_bytes = 0;
  std::array<uint64_t, 3> tier_bytes{};
  std::array<uint64_t, 3> tier_extents{};
};

// A fetch under way. Thread-safe. Its destinations belong to the transport until the fetch has ended: the destructor
// cancels, and keeps the slots quarantined (Region's memory stays alive inside the client) until every server has
// confirmed or its connection is proven closed.
class Fetch {
 public:
  virtual ~Fetch() = default;
  // Blocks of the request, counted from its first, that are on their way for every item: waits until all servers
  // answered.
  [[nodiscard]] virtual int AcceptedBlocks(absl::Time deadline) = 0;
  // Waits until blocks [0, blocks) of `item` have arrived and verifies their checksums (each once, on the calling
  // thread). Returns how many of them, counted from the first, are good: fewer than asked when something was missing,
  // corrupt, late or lost with its server; those never become good later.
  [[nodiscard]] virtual int Wait(int item, int blocks, absl::Time deadline) = 0;
  // The same without waiting: leading blocks of `item` that have arrived and verified so far.
  [[nodiscard]] virtual int Ready(int item) = 0;
  // Whether Wait would return without waiting: none of these blocks, or none before one that never comes, is on its
  // way.
  [[nodiscard]] virtual bool Settled(int item, int blocks) = 0;
  // Stops the transfer and waits (at most until `deadline`) until no byte will land any more; true when that is proven.
  virtual bool Cancel(absl::Time deadline) = 0;
  [[nodiscard]] virtual FetchStats stats() const = 0;
};

struct FetchOptions {
  std::vector<TransferItem> items;  // in the order wanted: E of the transition layer first, then KV in layer order
  std::vector<Digest> blocks;       // a run of a chain, in chain order
  int first_position = 0;           // position of blocks[0] in its chain
  // Hash of the block at StripeStart(first_position): needed when the run starts inside a stripe.
  std::optional<Digest> stripe_key;
  std::vector<uint32_t> slots;  // one a block
  absl::Duration deadline = absl::Seconds(10);
  bool prefetch = false;  // yields to first tokens
};

// What a store offered and the servers want: per block, bits of the layers. Neither wanted nor busy: already there.
struct BlockWants {
  std::array<uint64_t, 4> kv{};
  std::array<uint64_t, 4> e{};
  std::array<uint64_t, 4> busy_kv{};
  std::array<uint64_t, 4> busy_e{};
};

// An offer under way. Thread-safe. Destroying it without Seal abandons what was not filled; what was filled stays.
class Store {
 public:
  virtual ~Store() = default;
  virtual const std::vector<BlockWants>& wants() const = 0;
  // Sends what of `items` x `blocks` (indices into the offer's blocks) is wanted; `slots` one a block. Returns once
  // queued; the sources stay unchanged until WaitFilled. Checksums are computed on the calling thread.
  [[nodiscard]] virtual absl::Status Fill(const std::vector<TransferItem>& items, const std::vector<int>& blocks,
                                          const std::vector<uint32_t>& slots) = 0;
  // Waits until the servers have read every source given so far: they may be reused. Not OK: something was not stored;
  // the sources may be reused all the same unless DEADLINE_EXCEEDED.
  [[nodiscard]] virtual absl::Status WaitFilled(absl::Time deadline) = 0;
  // Ends the offer. With `durable`, OK means that all of it survives a crash and power loss. PERMISSION_DENIED: this
  // client may not store.
  [[nodiscard]] virtual absl::Status Seal(bool durable, absl::Time deadline) = 0;
};

struct StoreOptions {
  std::vector<Digest> blocks;        // a run of a chain, in chain order
  Digest parent;                     // hash before blocks[0]: the namespace's bytes when it is the chain's first
  int first_position = 0;            // position of blocks[0] in its chain
  std::optional<Digest> stripe_key;  // as in FetchOptions
  std::array<uint64_t, 4> kv{};      // layers offered
  std::array<uint64_t, 4> e{};
};

// A namespace opened on the servers: names a (model, layout). Cheap to copy; valid as long as its Client.
struct NamespaceHandle {
  int id = -1;
  Digest bytes;  // h[0] of every chain
  Layout layout;
};

struct ServerConnection {
  std::string server;
  std::string transport;  // local, verbs, tcp or ucx
  std::string reason;     // why this one, for people
};

// Thread-safe. Owns its sessions and one thread that moves messages.
class Client {
 public:
  // Connects to all servers at once. Those that cannot be reached are retried in the background and are misses until
  // then; UNAVAILABLE, naming each and why, only when none can. INVALID_ARGUMENT: `tls` is wrong. FAILED_PRECONDITION:
  // a server has another name, protocol version or cluster secret than expected.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<Client>> Connect(const ClientOptions& options);
  virtual ~Client() = default;

  // Servers that can be used right now, of how many.
  virtual int live_servers() const = 0;
  virtual int servers() const = 0;
  // How the servers that can be used right now are connected.
  virtual std::vector<ServerConnection> connections() const = 0;

  [[nodiscard]] virtual absl::StatusOr<NamespaceHandle> OpenNamespace(const Digest& weights, const Digest* adapter,
                                                                      const Layout& layout) = 0;

  // Prefaulted memory of `bytes`, usable with every server.
  [[nodiscard]] virtual absl::StatusOr<std::unique_ptr<Region>> AllocateRegion(uint64_t bytes) = 0;

  // One message a server. `blocks` is a run of a chain from position 0. Blocks of dead servers are misses. Never fails
  // for a cache's reasons.
  [[nodiscard]] virtual std::vector<BlockCoverage> Coverage(const NamespaceHandle& ns,
                                                            absl::Span<const Digest> blocks) = 0;

  // Starts a fetch. INVALID_ARGUMENT for what can't be right (slots, regions, layers); a server's trouble shows in
  // Wait.
  [[nodiscard]] virtual absl::StatusOr<std::unique_ptr<Fetch>> StartFetch(const NamespaceHandle& ns,
                                                                          FetchOptions options) = 0;

  // Offers blocks; answers of servers that are dead say nothing is wanted.
  [[nodiscard]] virtual absl::StatusOr<std::unique_ptr<Store>> StartStore(const NamespaceHandle& ns,
                                                                          StoreOptions options) = 0;

  // The paper's interface (section 4.5), a layer at a time, blocking: all full blocks of `tokens`. `kv` is, a block
  // after the other, K then V; `e` the blocks' E. Store copies from, and Fetch to, the caller's memory. Fetch returns
  // the number of leading blocks copied.
  [[nodiscard]] virtual absl::Status StoreKv(const NamespaceHandle& ns, absl::Span<const uint32_t> tokens, int layer,
                                             absl::Span<const std::byte> kv) = 0;
  [[nodiscard]] virtual absl::Status StoreE(const NamespaceHandle& ns, absl::Span<const uint32_t> tokens, int layer,
                                            absl::Span<const std::byte> e) = 0;
  [[nodiscard]] virtual absl::StatusOr<int> FetchKv(const NamespaceHandle& ns, absl::Span<const uint32_t> tokens,
                                                    int layer, absl::Span<std::byte> kv) = 0;
  [[nodiscard]] virtual absl::StatusOr<int> FetchE(const NamespaceHandle& ns, absl::Span<const uint32_t> tokens,
                                                   int layer, absl::Span<std::byte> e) = 0;
};

}  // namespace droidspeak
