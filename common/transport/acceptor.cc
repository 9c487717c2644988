// SPDX-License-Identifier: Apache-2.0
#include "common/transport/acceptor.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/files.h"
#include "common/base/log.h"

namespace droidspeak {
namespace {

OwnedFd SpareDescriptor() {
  return OwnedFd(::open("/dev/null", O_RDONLY | O_CLOEXEC));
}

}  // namespace

absl::StatusOr<Acceptor> Acceptor::Create(OwnedFd listener, std::string name) {
  OwnedFd spare = SpareDescriptor();
  if (!spare.valid()) return ErrnoStatus(errno, absl::StrCat("listening at ", name));
  return Acceptor(std::move(listener), std::move(spare), std::move(name));
}

Acceptor::Acceptor(OwnedFd listener, OwnedFd spare, std::string name)
    : listener_(std::move(listener)), spare_(std::move(spare)), name_(std::move(name)) {}

std::optional<OwnedFd> Acceptor::Accept() {
  while (true) {
    OwnedFd socket(::accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (socket.valid()) return socket;
    if (errno == EMFILE || errno == ENFILE) {
      spdlog::error("{}: no descriptors left, a connection is refused", name_);
      spare_.Reset();
      OwnedFd(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC)).Reset();
      spare_ = SpareDescriptor();
      return std::nullopt;
    }
    if (errno != ECONNABORTED && errno != EINTR) return std::nullopt;
  }
}

}  // namespace droidspeak
