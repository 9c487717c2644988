// SPDX-License-Identifier: Apache-2.0
// The worker of the `ucx` transport.
#pragma once

#include <ucp/api/ucp.h>

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "common/transport/region_table.h"
#include "common/transport/transport.h"
#include "common/transport/ucx/ucx_channel.h"
#include "common/transport/ucx/ucx_engine.h"

namespace droidspeak::ucx {

// Owns a UCX engine for each reach that it was asked for, the listener and all channels. Not thread-safe.
class UcxWorker final : public Worker {
 public:
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<Worker>> Create();
  ~UcxWorker() override;

  absl::StatusOr<std::string> Listen(const std::string& address, AcceptFunction accept) override;
  absl::StatusOr<std::unique_ptr<Connection>> Connect(const std::string& address, ConnectionEvents* events) override;
  absl::Status Register(const MemoryRegion& memory) override { return CheckHostMemory(memory); }
  int Progress() override;
  bool Arm() override;
  int event_fd() const override { return epoll_; }

  // For its channels. Handle() of `channel` is called from this or the next Progress().
  void GiveTurn(UcxChannel* channel);
  void Forget(ucp_ep_h endpoint) { by_endpoint_.erase(endpoint); }

 private:
  explicit UcxWorker(int epoll) : epoll_(epoll) {}

  [[nodiscard]] absl::StatusOr<UcxEngine*> EngineFor(Reach reach);
  [[nodiscard]] absl::Status HandleActiveMessages(ucp_worker_h worker);
  template <unsigned id>
  static ucs_status_t OnActiveMessage(void* self, const void* header, size_t header_bytes, void* data, size_t bytes,
                                      const ucp_am_recv_param_t* params);
  UcxChannel* AddChannel(UcxEngine& engine, UcxChannel::Role role, std::string peer);
  void Accept(ucp_conn_request_h request);
  int HandleChannels();

  const int epoll_;                                                // of the engines' descriptors
  std::array<std::unique_ptr<UcxEngine>, Reach::kCount> engines_;  // by Reach::index(); made when needed
  UcxEngine* listening_ = nullptr;
  ucp_listener_h listener_ = nullptr;
  AcceptFunction accept_;
  std::vector<ucp_conn_request_h> requests_;
  absl::flat_hash_map<UcxChannel*, std::unique_ptr<UcxChannel>> channels_;
  absl::flat_hash_map<ucp_ep_h, UcxChannel*> by_endpoint_;
  std::vector<UcxChannel*> turns_;
};

}  // namespace droidspeak::ucx
