// SPDX-License-Identifier: Apache-2.0
// tcp under TLS as a transport of its own, for tests that know nothing of keys.
#pragma once

#include <memory>
#include <string>
#include <utility>

#include "common/base/status.h"
#include "common/transport/tcp/tcp_transport.h"
#include "common/transport/transport.h"

namespace droidspeak {

inline SharedKey TestKey() {
  return {"0123456789abcdef", std::string(32, 'k')};
}

class EncryptedTcpWorker final : public Worker {
 public:
  explicit EncryptedTcpWorker(std::unique_ptr<Worker> worker) : worker_(std::move(worker)) {}
  absl::StatusOr<std::string> Listen(const std::string& address, AcceptFunction accept) override {
    RETURN_IF_ERROR(worker_->AcceptEncryptedOnly(
        [](std::string_view name) { return name == TestKey().name ? std::optional(TestKey().key) : std::nullopt; }));
    return worker_->Listen(address, std::move(accept));
  }
  absl::StatusOr<std::unique_ptr<Connection>> Connect(const std::string& address, ConnectionEvents* events) override {
    return worker_->ConnectEncrypted(address, TestKey(), events);
  }
  absl::Status Register(const MemoryRegion& memory) override { return worker_->Register(memory); }
  int Progress() override { return worker_->Progress(); }
  bool Arm() override { return worker_->Arm(); }
  int event_fd() const override { return worker_->event_fd(); }

 private:
  const std::unique_ptr<Worker> worker_;
};

class EncryptedTcpTransport final : public Transport {
 public:
  explicit EncryptedTcpTransport(const TcpStreams& streams) : tcp_(streams) {}
  std::string_view name() const override { return tcp_.name(); }
  absl::StatusOr<std::string> Resolve(const std::string& address) const override { return tcp_.Resolve(address); }
  absl::StatusOr<std::unique_ptr<Worker>> CreateWorker() const override {
    ASSIGN_OR_RETURN(std::unique_ptr<Worker> worker, tcp_.CreateWorker());
    return std::make_unique<EncryptedTcpWorker>(std::move(worker));
  }

 private:
  const TcpTransport tcp_;
};

}  // namespace droidspeak
