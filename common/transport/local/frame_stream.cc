// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/files.h"
#include "common/transport/local/unix_socket.h"

namespace droidspeak::local {
namespace {

constexpr size_t kReadBytes = size_t{256} * 1024;
constexpr size_t kMaxWaitingFds = 16;

size_t LimitOf(FrameType type) {
  switch (type) {
    case FrameType::kMessage:
      return kMaxMessageBytes;
    case FrameType::kAnnounce:
      return sizeof(AnnouncePayload);
    case FrameType::kWithdraw:
      return sizeof(WithdrawPayload);
  }
  return 0;
}

// sendmsg() of two pieces and perhaps a descriptor; 0 when the peer takes nothing now.
absl::StatusOr<size_t> SendPieces(int socket, absl::Span<const std::byte> first, absl::Span<const std::byte> second,
                                  int fd) {
  std::array<iovec, 2> pieces = {iovec{const_cast<std::byte*>(first.data()), first.size()},
                                 iovec{const_cast<std::byte*>(second.data()), second.size()}};
  msghdr message{};
  message.msg_iov = pieces.data();
  message.msg_iovlen = pieces.size();
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  if (fd >= 0) {
    message.msg_control = control;
    message.msg_controllen = sizeof(control);
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    std::memcpy(CMSG_DATA(header), &fd, sizeof(fd));
  }
  while (true) {
    const ssize_t sent = ::sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent >= 0) return static_cast<size_t>(sent);
    if (errno == EAGAIN || errno == EWOULDBLOCK) return size_t{0};
    if (errno == EINTR) continue;
    return absl::UnavailableError(absl::StrCat("sending to a local peer: ", strerror(errno)));
  }
}

}  // namespace

absl::Status FrameStream::Send(FrameType type, absl::Span<const std::byte> payload, int fd) {
  const FrameHeader header{static_cast<uint32_t>(type), static_cast<uint32_t>(payload.size())};
  const absl::Span<const std::byte> head(reinterpret_cast<const std::byte*>(&header), sizeof(header));
  if (queued_bytes_ + head.size() + payload.size() > kMaxQueuedBytes) {
    return absl::ResourceExhaustedError("the local peer does not read: too much is queued for it");
  }
  size_t sent = 0;
  if (queue_.empty()) {
    const absl::StatusOr<size_t> done = SendPieces(socket_.get(), head, payload, fd);
    if (!done.ok()) return done.status();
    sent = *done;
    if (sent == head.size() + payload.size()) return absl::OkStatus();
  }
  Queued queued;
  queued.bytes.reserve(head.size() + payload.size());
  queued.bytes.insert(queued.bytes.end(), head.begin(), head.end());
  queued.bytes.insert(queued.bytes.end(), payload.begin(), payload.end());
  queued.sent = sent;
  if (fd >= 0 && sent == 0) {
    queued.fd = OwnedFd(::fcntl(fd, F_DUPFD_CLOEXEC, 0));
    if (!queued.fd.valid()) return ErrnoStatus(errno, "keeping a region's descriptor");
  }
  queued_bytes_ += queued.bytes.size() - sent;
  queue_.push_back(std::move(queued));
  return absl::OkStatus();
}

absl::Status FrameStream::Flush() {
  while (!queue_.empty()) {
    Queued& front = queue_.front();
    const absl::Span<const std::byte> rest = absl::MakeConstSpan(front.bytes).subspan(front.sent);
    const absl::StatusOr<size_t> sent = SendPieces(socket_.get(), rest, {}, front.sent == 0 ? front.fd.get() : -1);
    if (!sent.ok()) return sent.status();
    if (*sent == 0) return absl::OkStatus();
    front.sent += *sent;
    queued_bytes_ -= *sent;
    if (front.sent == front.bytes.size()) queue_.pop_front();
  }
  return absl::OkStatus();
}

absl::StatusOr<bool> FrameStream::Receive() {
  if (in_begin_ > 0) {  // what was not taken, less than a frame, moves to the front
    std::memmove(in_.data(), in_.data() + in_begin_, in_end_ - in_begin_);
    in_end_ -= in_begin_;
    in_begin_ = 0;
  }
  if (in_.size() < in_end_ + kReadBytes) in_.resize(in_end_ + kReadBytes);
  iovec piece{in_.data() + in_end_, kReadBytes};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * kMaxWaitingFds)];
  msghdr message{};
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof(control);
  ssize_t got;
  do {
    got = ::recvmsg(socket_.get(), &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  } while (got < 0 && errno == EINTR);
  if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return false;
  if (got < 0) return absl::UnavailableError(absl::StrCat("reading from a local peer: ", strerror(errno)));
  if (got == 0) return absl::UnavailableError("the local peer closed the connection");
  in_end_ += static_cast<size_t>(got);
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr; header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    for (size_t at = 0; at < header->cmsg_len - CMSG_LEN(0); at += sizeof(int)) {
      int fd;
      std::memcpy(&fd, CMSG_DATA(header) + at, sizeof(fd));
      fds_.emplace_back(fd);
    }
  }
  if (fds_.size() > kMaxWaitingFds) return absl::InvalidArgumentError("a local peer sent descriptors without a use");
  return true;
}

absl::StatusOr<bool> FrameStream::Next(Frame* frame) {
  FrameHeader header;
  if (in_end_ - in_begin_ < sizeof(header)) return false;
  std::memcpy(&header, in_.data() + in_begin_, sizeof(header));
  const auto type = static_cast<FrameType>(header.type);
  if (header.bytes == 0 || header.bytes > LimitOf(type)) {
    return absl::InvalidArgumentError(
        absl::StrCat("frame of type ", header.type, " and ", header.bytes, " bytes from a local peer"));
  }
  if (in_end_ - in_begin_ < sizeof(header) + header.bytes) return false;
  *frame = {type, {in_.data() + in_begin_ + sizeof(header), header.bytes}};
  in_begin_ += sizeof(header) + header.bytes;
  return true;
}

void FrameStream::Discard() {
  in_begin_ = in_end_;
  fds_.clear();
}

OwnedFd FrameStream::TakeFd() {
  if (fds_.empty()) return OwnedFd();
  OwnedFd fd = std::move(fds_.front());
  fds_.pop_front();
  return fd;
}

}  // namespace droidspeak::local
