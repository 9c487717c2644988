// SPDX-License-Identifier: Apache-2.0
// The worker of the `verbs` transport: a device, a completion queue, and the channels on it.
#pragma once

#include <infiniband/verbs.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/time/time.h"
#include "common/base/owned_fd.h"
#include "common/transport/transport.h"
#include "common/transport/verbs/device.h"
#include "common/transport/verbs/resources.h"
#include "common/transport/verbs/verbs_channel.h"

namespace droidspeak::verbs {

// Owns all channels. A device that fails takes its channels with it; the next one that is asked for opens it again. Not
// thread-safe.
class VerbsWorker final : public Worker {
 public:
  // `queue_pairs`: of a connection; 0 chooses by the link's speed.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<Worker>> Create(size_t queue_pairs);
  ~VerbsWorker() override;

  // There is nothing to bind: the address names the port, for people.
  absl::StatusOr<std::string> Listen(const std::string& address, AcceptFunction accept) override;
  absl::StatusOr<std::unique_ptr<Connection>> Connect(const std::string& address, ConnectionEvents* events) override;
  absl::StatusOr<std::unique_ptr<Connection>> ConnectIntroduced(const Introduce& introduce,
                                                                ConnectionEvents* events) override;
  absl::StatusOr<std::string> Answer(std::string_view words) override;
  absl::Status Register(const MemoryRegion& memory) override;
  int Progress() override;
  bool Arm() override;
  int event_fd() const override { return epoll_.get(); }

  // For its channels.
  const std::shared_ptr<Device>& device() const { return device_; }
  ibv_cq* completions() const { return completions_.get(); }
  absl::Time now() const { return now_; }
  struct Local {
    uint32_t key;
    void (*flush)();  // of a device's memory, after something was written there; null: needs none
  };
  // How a work request names [memory, memory + bytes), where that has been registered.
  std::optional<Local> FindLocal(const std::byte* memory, uint64_t bytes) const;
  // Turn() of `channel` is called from this or the next Progress().
  void GiveTurn(VerbsChannel* channel);
  // Ids of completions: the channel, and which of its queue pairs or receives.
  static uint64_t SendId(uint64_t channel, size_t queue) { return channel << 16 | queue << 1; }
  static uint64_t ReceiveId(uint64_t channel, uint32_t slot) { return channel << 16 | slot << 1 | 1; }

 private:
  struct Registered {
    MemoryRegion memory;
    Registration registration;  // with the device there is
  };
  struct CloseChannel {
    void operator()(ibv_comp_channel* channel) const { ibv_destroy_comp_channel(channel); }
  };

  // What wakes it.
  enum class Source : uint32_t { kTimer, kDevice, kCompletions };

  VerbsWorker(OwnedFd epoll, OwnedFd timer, size_t queue_pairs);
  // Opens the device, or looks at its port again, where that is needed.
  absl::Status OpenDevice();
  absl::Status SetUpDevice();
  // Its channels end. A device that has failed goes when the last of them has; a port may come back.
  void LosePort(const absl::Status& why);
  void LoseDevice(const absl::Status& why);
  void CloseDevice();
  absl::Status Watch(Source source, int fd);
  [[nodiscard]] absl::StatusOr<VerbsChannel*> AddChannel(VerbsChannel::Role role, size_t queue_pairs);
  absl::Status MakeRoom(size_t queue_pairs);
  VerbsChannel* Find(uint64_t channel) const;
  void OnAnswer(uint64_t channel, const absl::StatusOr<std::string>& answer);
  int PollCompletions();
  void Handle(const ibv_wc& completion);
  int RunTurns();
  // Reads what is there of the sources. Returns how many things it did.
  int Look();
  int ReadTimer();
  int ReadDeviceEvents();
  void ReadNotifications();
  void SetTimer();

  const OwnedFd epoll_;
  const OwnedFd timer_;
  const size_t wanted_queue_pairs_;
  const std::shared_ptr<VerbsWorker*> alive_;  // for answers that come later than the worker's end
  AcceptFunction accept_;
  std::shared_ptr<Device> device_;  // null: lost
  std::vector<Registered> registered_;
  std::unique_ptr<ibv_comp_channel, CloseChannel> notifications_;
  CompletionQueue completions_;
  int capacity_ = 0;             // of it
  unsigned unacknowledged_ = 0;  // events of it
  std::vector<ibv_wc> early_;    // that were found when the worker was to be armed
  bool port_lost_ = false;       // it is to be looked at again
  bool lost_ = false;            // the device has failed
  bool timer_runs_ = false;
  absl::Time now_;
  absl::Time next_look_;  // however busy it is
  uint64_t last_id_ = 0;
  absl::flat_hash_map<uint64_t, std::unique_ptr<VerbsChannel>> channels_;
  std::vector<uint64_t> turns_;
};

}  // namespace droidspeak::verbs
