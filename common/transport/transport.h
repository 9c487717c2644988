// SPDX-License-Identifier: Apache-2.0
// The data plane's one interface: ordered control messages, and bulk transfers that the *server* drives.
//
// A client registers memory and names ranges of it; the server pushes bytes into such a range or pulls bytes out of it.
// Nothing of the server's memory is ever addressable by a client. docs/transports.md is the guide for authors of
// another transport; tests/transport/conformance_test.cc is the contract as a program.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace droidspeak {

// Largest control message a connection carries, in bytes. (An OfferAnswer for the most blocks is 512 KiB and a header.)
inline constexpr size_t kMaxMessageBytes = size_t{640} * 1024;

// What a transport needs to reach memory that the processor cannot, as a GPU's. No other memory has its addresses.
struct DeviceMemory {
  int dma_buf = -1;     // of what it lies in (CUDA: cuMemGetHandleForAddressRange); not owned, open as long as it lives
  uint64_t offset = 0;  // of the region in that
  // Makes what other devices have written visible to the one whose memory it is (CUDA: cuFlushGPUDirectRDMAWrites);
  // null where nothing is needed. Called on the worker's thread.
  void (*flush)() = nullptr;
};

// Memory that one end has made available to a transport. `fd` is the memfd behind it (-1 without one; the `local`
// transport needs it) and `base` its start in this process, for a device's memory in the device's address space. Not
// owned; outlives every connection that uses it.
struct MemoryRegion {
  std::byte* base = nullptr;
  uint64_t bytes = 0;
  int fd = -1;
  std::optional<DeviceMemory> device = std::nullopt;  // nothing: the host's memory
};

// Bytes [offset, offset + bytes) of the region that the connection's client announced under `region`.
struct RemoteRange {
  uint32_t region = 0;
  uint64_t offset = 0;
  uint64_t bytes = 0;
};

// 32 bytes that both ends know before they connect, and a name of at most 64 bytes by which the accepting end finds
// them.
struct SharedKey {
  std::string name;
  std::string key;
};
// The key of that name; nothing when there is none. `name` is whatever a stranger sent.
using KeyFinder = std::function<std::optional<std::string>(std::string_view name)>;

// Carries `words` to the Answer() of the listener's worker, over a channel that both ends trust (the session), and
// calls `answered` with what that returned: on the connecting worker's thread, within the call or later, also when the
// connection or the worker has gone meanwhile.
using Answered = std::function<void(const absl::StatusOr<std::string>& answer)>;
using Introduce = std::function<void(std::string words, Answered answered)>;

class Connection;

// What happens on a connection. Called only from the Progress() of the worker that owns the connection. An event
// handler may call any method of the connection, Close() included, but must not destroy it: destroy it after the
// handler returned.
class ConnectionEvents {
 public:
  virtual ~ConnectionEvents() = default;
  // A message from the peer; `message` is valid during the call. Delivered in the order sent, and only when the bytes
  // of every Push() that the peer posted before it are visible in this process's memory.
  virtual void OnMessage(Connection& connection, absl::Span<const std::byte> message) = 0;
  // A Push() or Pull() with this token has ended: its local memory may be used again. Server end only. After a failure
  // the connection is closed as well.
  virtual void OnTransferDone(Connection& connection, uint64_t token, const absl::Status& status) = 0;
  // The connection is gone (peer closed, died or misbehaved, or Close() was called). Each transfer under way has been
  // reported by OnTransferDone before, and no transfer will touch local memory any more. The last call for a
  // connection.
  virtual void OnClosed(Connection& connection, const absl::Status& why) = 0;
};

// One end of a connection. Owned by whoever got it from Worker; used only on that worker's thread; destroyed before the
// worker. Destroying an open connection closes it without events.
class Connection {
 public:
  virtual ~Connection() = default;

  // Queues a message of at most kMaxMessageBytes; the bytes are copied before return. UNAVAILABLE once closed;
  // RESOURCE_EXHAUSTED when the peer does not read and too much is queued.
  [[nodiscard]] virtual absl::Status Send(absl::Span<const std::byte> message) = 0;

  // Client end: lets the server transfer to and from `memory` under the number `region`, until withdrawn or closed.
  // Takes effect before any message sent later arrives. UNIMPLEMENTED for a device's memory where the transport reaches
  // only the host's.
  [[nodiscard]] virtual absl::Status AnnounceRegion(uint32_t region, const MemoryRegion& memory) = 0;
  [[nodiscard]] virtual absl::Status WithdrawRegion(uint32_t region) = 0;

  // Server end: accepts region announcements from now on. Before, a peer that sends one is cut off; call after the
  // hello.
  virtual void Authorize() = 0;

  // Server end: copies [source, source + to.bytes) into the client's range. INVALID_ARGUMENT, and nothing is sent, when
  // the range does not lie in an announced region. Any number may be under way; each ends with OnTransferDone, possibly
  // before this returns control to the worker's loop but never inside this call. `source` stays unchanged until then.
  [[nodiscard]] virtual absl::Status Push(const std::byte* source, const RemoteRange& to, uint64_t token) = 0;

  // Server end: copies the client's range into [destination, destination + from.bytes). As Push().
  [[nodiscard]] virtual absl::Status Pull(std::byte* destination, const RemoteRange& from, uint64_t token) = 0;

  // Ends the connection; OnClosed follows from a later Progress(). Idempotent.
  virtual void Close() = 0;

  // For messages to people: "local:PATH", "tcp:HOST:PORT", "ucx:HOST:PORT" or "verbs:ADDRESS".
  virtual std::string peer() const = 0;
};

// Drives the connections of one thread. Not thread-safe; every call from one thread (the constructor's may be another).
class Worker {
 public:
  using AcceptFunction = std::function<ConnectionEvents*(std::unique_ptr<Connection> connection)>;
  virtual ~Worker() = default;

  // Accepts connections at `address`: HOST:PORT (port 0: any), or the path of a Unix socket for `local`. `accept` takes
  // each new connection and returns who is told of its events (null: refused, the connection is to be dropped by the
  // callee). Returns the address bound. Once a worker.
  [[nodiscard]] virtual absl::StatusOr<std::string> Listen(const std::string& address, AcceptFunction accept) = 0;

  // Starts connecting to a listener, at an address as Listen() has them or as the transport's Resolve() gives; `events`
  // outlives the connection. Fails at once, or by OnClosed later.
  [[nodiscard]] virtual absl::StatusOr<std::unique_ptr<Connection>> Connect(const std::string& address,
                                                                            ConnectionEvents* events) = 0;

  // As Connect(), to a listener that encrypts; both ends prove that they know the key. UNIMPLEMENTED by transports that
  // cannot encrypt.
  [[nodiscard]] virtual absl::StatusOr<std::unique_ptr<Connection>> ConnectEncrypted(const std::string&,
                                                                                     const SharedKey&,
                                                                                     ConnectionEvents*) {
    return absl::UnimplementedError("this transport cannot encrypt");
  }
  // Before Listen(): takes no connections but encrypted ones with a key that `keys` knows.
  [[nodiscard]] virtual absl::Status AcceptEncryptedOnly(KeyFinder) {
    return absl::UnimplementedError("this transport cannot encrypt");
  }

  // As Connect(), for transports whose ends must know of each other what no address says (Transport::introduces()).
  [[nodiscard]] virtual absl::StatusOr<std::unique_ptr<Connection>> ConnectIntroduced(const Introduce&,
                                                                                      ConnectionEvents*) {
    return absl::UnimplementedError("this transport connects by address");
  }
  // The listener's answer to the words of a client that connects so, whose connection goes to the function that
  // Listen() was given. INVALID_ARGUMENT for words that make no sense; UNAVAILABLE when it was refused.
  [[nodiscard]] virtual absl::StatusOr<std::string> Answer(std::string_view) {
    return absl::UnimplementedError("this transport connects by address");
  }

  // Makes `memory` usable as source of Push and destination of Pull, cheaply (registered or pinned once). Optional for
  // correctness, but for a device's memory (UNIMPLEMENTED as above). The memory outlives the worker.
  [[nodiscard]] virtual absl::Status Register(const MemoryRegion& memory) = 0;

  // Handles what is ready, events included, without blocking. Returns how many things it did; 0 means idle.
  virtual int Progress() = 0;

  // To sleep: poll event_fd() for readability after Arm() returned true; false means that there is something to do now.
  virtual bool Arm() = 0;
  virtual int event_fd() const = 0;
};

// A way to move bytes. Stateless factory; thread-safe.
class Transport {
 public:
  virtual ~Transport() = default;
  virtual std::string_view name() const = 0;
  // What must be equal at both ends for them to understand each other (UCX: its major.minor version); empty: nothing.
  virtual std::string version() const { return {}; }
  // What Connect() may be given for `address` so that it looks up no name: a look-up takes a while, and a worker's
  // thread has other connections to drive.
  [[nodiscard]] virtual absl::StatusOr<std::string> Resolve(const std::string& address) const { return address; }
  // Whether its workers connect by ConnectIntroduced() and Answer().
  virtual bool introduces() const { return false; }
  // What it holds in this process beside memory and descriptors, and what else an operator may want to count.
  struct Resource {
    std::string name;
    int64_t count;
  };
  virtual std::vector<Resource> resources() const { return {}; }
  // NOT_FOUND, UNAVAILABLE or FAILED_PRECONDITION: it cannot be used on this host, as the message says.
  [[nodiscard]] virtual absl::StatusOr<std::unique_ptr<Worker>> CreateWorker() const = 0;
};

// "local" (same host: memfd and a Unix socket), "verbs" (InfiniBand, RoCE), "tcp" (own sockets) or "ucx" (TCP by UCX).
// NOT_FOUND names the ones there are.
[[nodiscard]] absl::StatusOr<const Transport*> FindTransport(std::string_view name);
// All of them, in the order in which they are preferred where several can be used.
absl::Span<const Transport* const> AllTransports();
// Their names, in that order.
std::vector<std::string> TransportNames();

}  // namespace droidspeak
