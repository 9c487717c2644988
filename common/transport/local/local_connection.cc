// SPDX-License-Identifier: Apache-2.0
#include "common/transport/local/local_connection.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/files.h"
#include "common/base/status.h"
#include "common/transport/local/local_worker.h"

namespace droidspeak::local {
namespace {

// Reads of one connection before others have their turn.
constexpr int kMaxReads = 4;

template <typename T>
absl::Span<const std::byte> BytesOf(const T& value) {
  return {reinterpret_cast<const std::byte*>(&value), sizeof(value)};
}

// Maps `bytes` of a peer's memfd, which its owner must not be able to take away under the mapping.
absl::StatusOr<std::byte*> MapSealed(int fd, uint64_t bytes) {
  const int seals = ::fcntl(fd, F_GET_SEALS);
  if (seals < 0 || (seals & F_SEAL_SHRINK) == 0) {
    return absl::InvalidArgumentError("a region that is not a memfd sealed against shrinking");
  }
  struct stat info;
  if (::fstat(fd, &info) != 0) return ErrnoStatus(errno, "looking at a region's memfd");
  if (static_cast<uint64_t>(info.st_size) < bytes) {
    return absl::InvalidArgumentError(absl::StrCat("a region of ", bytes, " bytes in a memfd of ", info.st_size));
  }
  // What is there already gets its page table entries now, not one fault a page under the first transfers. What isn't
  // there is not made here: it would be this process's memory.
  const bool present = static_cast<uint64_t>(info.st_blocks) * 512 >= bytes;
  void* base = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | (present ? MAP_POPULATE : 0), fd, 0);
  if (base == MAP_FAILED) return ErrnoStatus(errno, "mapping a region");
  return static_cast<std::byte*>(base);
}

}  // namespace

LocalConnection::LocalConnection(LocalWorker* worker, Role role, OwnedFd socket, std::string path)
    : worker_(worker), role_(role), path_(std::move(path)), id_(worker->NewId()), stream_(std::move(socket)) {
  worker_->Add(this);
}

LocalConnection::~LocalConnection() {
  UnmapAll();
  worker_->Remove(this);
}

std::string LocalConnection::peer() const {
  return absl::StrCat("local:", path_);
}

absl::Status LocalConnection::SendFrame(FrameType type, absl::Span<const std::byte> payload, int fd) {
  if (state_ != State::kOpen) return absl::UnavailableError(absl::StrCat("connection to ", peer(), " is closed"));
  absl::Status sent = stream_.Send(type, payload, fd);
  if (absl::IsUnavailable(sent)) End(sent);
  if (state_ == State::kOpen) worker_->WatchOutput(this, stream_.has_queued());
  return sent;
}

absl::Status LocalConnection::Send(absl::Span<const std::byte> message) {
  if (message.empty() || message.size() > kMaxMessageBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("a message of ", message.size(), " bytes; 1 to ", kMaxMessageBytes, " are expected"));
  }
  return SendFrame(FrameType::kMessage, message);
}

absl::Status LocalConnection::AnnounceRegion(uint32_t region, const MemoryRegion& memory) {
  if (role_ != Role::kClient) return absl::FailedPreconditionError("only clients announce regions");
  RETURN_IF_ERROR(CheckHostMemory(memory));
  if (memory.fd < 0) return absl::InvalidArgumentError("a region of the local transport needs its memfd");
  RETURN_IF_ERROR(regions_.Add(region, {memory.base, memory.bytes}));
  absl::Status sent = SendFrame(FrameType::kAnnounce, BytesOf(AnnouncePayload{region, 0, memory.bytes}), memory.fd);
  if (!sent.ok()) regions_.Remove(region).IgnoreError();
  return sent;
}

absl::Status LocalConnection::WithdrawRegion(uint32_t region) {
  if (role_ != Role::kClient) return absl::FailedPreconditionError("only clients withdraw regions");
  RETURN_IF_ERROR(regions_.Remove(region).status());
  return SendFrame(FrameType::kWithdraw, BytesOf(WithdrawPayload{region}));
}

absl::StatusOr<std::byte*> LocalConnection::CheckTransfer(const RemoteRange& range) {
  if (role_ != Role::kServer) return absl::FailedPreconditionError("only servers push and pull");
  if (state_ != State::kOpen) return absl::UnavailableError(absl::StrCat("connection to ", peer(), " is closed"));
  return regions_.Find(range);
}

absl::Status LocalConnection::Push(const std::byte* source, const RemoteRange& to, uint64_t token) {
  ASSIGN_OR_RETURN(std::byte* const destination, CheckTransfer(to));
  std::memcpy(destination, source, to.bytes);
  worker_->AddTransferDone(id_, token);
  return absl::OkStatus();
}

absl::Status LocalConnection::Pull(std::byte* destination, const RemoteRange& from, uint64_t token) {
  ASSIGN_OR_RETURN(const std::byte* const source, CheckTransfer(from));
  std::memcpy(destination, source, from.bytes);
  worker_->AddTransferDone(id_, token);
  return absl::OkStatus();
}

void LocalConnection::Close() {
  End(absl::CancelledError("closed by this end"));
}

void LocalConnection::End(const absl::Status& why) {
  if (state_ != State::kOpen) return;
  state_ = State::kEnding;
  why_ = Annotate(why, peer());
  // A client waits for the server's end, unless the server has gone before.
  if (role_ == Role::kServer || ::shutdown(stream_.socket(), SHUT_WR) != 0) return EndNow();
  worker_->WatchOutput(this, false);
}

void LocalConnection::EndNow() {
  state_ = State::kClosed;
  worker_->AddClosed(this);
}

void LocalConnection::Finish() {
  UnmapAll();
  stream_.Close();
  if (events_ != nullptr) events_->OnClosed(*this, why_);
}

void LocalConnection::UnmapAll() {
  if (role_ == Role::kServer) {
    for (const auto& [number, region] : regions_.all()) ::munmap(region.base, region.bytes);
  }
  regions_ = RegionTable();
}

void LocalConnection::TellTransferDone(uint64_t token) {
  events_->OnTransferDone(*this, token, absl::OkStatus());
}

int LocalConnection::OnReady(uint32_t epoll_events) {
  if (state_ == State::kEnding) {
    DiscardInput();
    return 1;
  }
  if (state_ != State::kOpen) return 0;
  if ((epoll_events & EPOLLOUT) != 0) {
    const absl::Status flushed = stream_.Flush();
    if (!flushed.ok()) End(flushed);
    if (state_ == State::kOpen) worker_->WatchOutput(this, stream_.has_queued());
  }
  int done = 1;
  for (int reads = 0; reads < kMaxReads && state_ == State::kOpen; ++reads) {
    const absl::StatusOr<bool> received = stream_.Receive();
    if (!received.ok()) {
      End(received.status());
      break;
    }
    if (!*received) break;
    while (state_ == State::kOpen) {
      FrameStream::Frame frame;
      absl::StatusOr<bool> found = stream_.Next(&frame);
      absl::Status handled = found.status();
      if (found.ok() && *found) handled = OnFrame(frame);
      if (!handled.ok()) End(handled);
      if (!found.ok() || !*found) break;
      ++done;
    }
  }
  return done;
}

// A client that is closing waits for the server's end and reads nothing else.
void LocalConnection::DiscardInput() {
  for (int reads = 0; reads < kMaxReads; ++reads) {
    const absl::StatusOr<bool> received = stream_.Receive();
    if (!received.ok()) return EndNow();
    if (!*received) return;
    stream_.Discard();
  }
}

absl::Status LocalConnection::OnFrame(const FrameStream::Frame& frame) {
  if (frame.type == FrameType::kMessage) {
    events_->OnMessage(*this, frame.payload);
    return absl::OkStatus();
  }
  if (role_ != Role::kServer) return absl::InvalidArgumentError("a server announced or withdrew a region");
  if (!authorized_) return absl::PermissionDeniedError("a region was announced before the hello");
  if (frame.type == FrameType::kAnnounce && frame.payload.size() == sizeof(AnnouncePayload)) {
    AnnouncePayload announce;
    std::memcpy(&announce, frame.payload.data(), sizeof(announce));
    return OnAnnounce(announce, stream_.TakeFd());
  }
  if (frame.type == FrameType::kWithdraw && frame.payload.size() == sizeof(WithdrawPayload)) {
    WithdrawPayload withdraw;
    std::memcpy(&withdraw, frame.payload.data(), sizeof(withdraw));
    return OnWithdraw(withdraw);
  }
  return absl::InvalidArgumentError("a malformed frame");
}

absl::Status LocalConnection::OnAnnounce(const AnnouncePayload& announce, OwnedFd fd) {
  if (!fd.valid()) return absl::InvalidArgumentError("a region came without its descriptor");
  ASSIGN_OR_RETURN(std::byte* const base, MapSealed(fd.get(), announce.bytes));
  absl::Status added = regions_.Add(announce.region, {base, announce.bytes});
  if (!added.ok()) ::munmap(base, announce.bytes);
  return added;
}

absl::Status LocalConnection::OnWithdraw(const WithdrawPayload& withdraw) {
  const absl::StatusOr<RegionTable::Region> region = regions_.Remove(withdraw.region);
  if (!region.ok()) return absl::InvalidArgumentError(region.status().message());
  ::munmap(region->base, region->bytes);
  return absl::OkStatus();
}

}  // namespace droidspeak::local
