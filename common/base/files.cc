// SPDX-License-Identifier: Apache-2.0
#include "common/base/files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "common/base/status.h"

namespace droidspeak {
namespace {

// What `path` leads to when it is a symbolic link, else `path`.
std::string FollowLinks(const std::string& path) {
  std::error_code error;
  if (!std::filesystem::is_symlink(path, error)) return path;
  const std::filesystem::path target = std::filesystem::weakly_canonical(path, error);
  return error ? path : target.string();
}

absl::Status WriteAll(int fd, std::string_view contents, std::string_view what) {
  while (!contents.empty()) {
    const ssize_t written = write(fd, contents.data(), contents.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return ErrnoStatus(errno, what);
    contents.remove_prefix(static_cast<size_t>(written));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status SyncFolder(const std::string& folder) {
  const std::string what = absl::StrCat("syncing ", folder);
  const int fd = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return ErrnoStatus(errno, what);
  const int error = fsync(fd) == 0 ? 0 : errno;
  close(fd);
  return error == 0 ? absl::OkStatus() : ErrnoStatus(error, what);
}

absl::Status ErrnoStatus(int error, std::string_view what) {
  return absl::ErrnoToStatus(error, ToAbsl(what));
}

absl::StatusOr<std::string> ReadFile(const std::string& path, uint64_t max_bytes) {
  const std::string what = absl::StrCat("reading ", path);
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return ErrnoStatus(errno, what);
  const absl::Cleanup close_fd = [fd] { close(fd); };
  std::string contents;
  std::vector<char> buffer(64 * 1024);
  while (true) {
    const ssize_t count = read(fd, buffer.data(), buffer.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return ErrnoStatus(errno, what);
    if (count == 0) return contents;
    contents.append(buffer.data(), static_cast<size_t>(count));
    if (contents.size() > max_bytes) {
      return absl::ResourceExhaustedError(absl::StrCat(what, ": more than ", max_bytes, " bytes"));
    }
  }
}

absl::Status WriteFileAtomically(const std::string& name, std::string_view contents, mode_t mode) {
  const std::string what = absl::StrCat("writing ", name);
  const std::string path = FollowLinks(name);
  struct stat info;
  if (stat(path.c_str(), &info) == 0 && !S_ISREG(info.st_mode)) {
    return absl::FailedPreconditionError(absl::StrCat(what, ": it exists and is no regular file"));
  }
  std::string temporary = path + ".XXXXXX";
  const int fd = mkostemp(temporary.data(), O_CLOEXEC);
  if (fd < 0) return ErrnoStatus(errno, what);
  absl::Cleanup remove = [&temporary] { unlink(temporary.c_str()); };
  absl::Status status = WriteAll(fd, contents, what);
  if (status.ok() && fchmod(fd, mode) != 0) status = ErrnoStatus(errno, what);
  if (status.ok() && fsync(fd) != 0) status = ErrnoStatus(errno, what);
  if (close(fd) != 0 && status.ok()) status = ErrnoStatus(errno, what);
  RETURN_IF_ERROR(status);
  if (rename(temporary.c_str(), path.c_str()) != 0) return ErrnoStatus(errno, what);
  std::move(remove).Cancel();
  const std::string folder = std::filesystem::path(path).parent_path().string();
  return SyncFolder(folder.empty() ? "." : folder);
}

}  // namespace droidspeak
