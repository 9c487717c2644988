// SPDX-License-Identifier: Apache-2.0
#include "engine/model/digest.h"

#include <sys/stat.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <string_view>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/files.h"
#include "common/base/status.h"
#include "engine/model/config.h"
#include "engine/model/lora.h"
#include "engine/model/model.h"
#include "engine/model/safetensors.h"
#include "spdlog/spdlog.h"

namespace droidspeak {
namespace {

// SHA-256 over the records of `checkpoint` in name order, then `lines`. The tensors' bytes are hashed by all cores.
Digest DigestCheckpoint(const Checkpoint& checkpoint, std::string_view lines) {
  using Item = std::pair<const std::string, StoredTensor>;
  std::vector<const Item*> items;
  for (const Item& item : checkpoint.tensors()) items.push_back(&item);
  std::vector<Digest> contents(items.size());
  std::atomic<size_t> next = 0;
  const auto work = [&] {
    for (size_t i = next++; i < items.size(); i = next++) {
      contents[i] = Sha256().Update(items[i]->second.bytes).Finish();
      ReleasePages(items[i]->second);
    }
  };
  std::vector<std::thread> threads;
  for (unsigned i = 1; i < std::thread::hardware_concurrency(); ++i) threads.emplace_back(work);
  work();
  for (std::thread& thread : threads) thread.join();
  Sha256 all;
  for (size_t i = 0; i < items.size(); ++i) {
    const auto& [name, tensor] = *items[i];
    all.UpdateLengthPrefixed(name).UpdateLengthPrefixed(tensor.dtype);
    all.UpdateU32(static_cast<uint32_t>(tensor.shape.size()));
    for (const int64_t size : tensor.shape) all.UpdateU64(static_cast<uint64_t>(size));
    all.Update(contents[i].view());
  }
  return all.Update(lines).Finish();
}

// What tells that a file is the one it was: a change of any of these is another key, so stale entries are never found.
absl::StatusOr<std::string> FileIdentity(const std::string& path) {
  std::error_code error;
  const std::string real = std::filesystem::canonical(path, error).string();
  struct stat info = {};
  if (error || ::stat(real.c_str(), &info) != 0)
    return ErrnoStatus(error ? error.value() : errno, absl::StrCat("reading ", path));
  return absl::StrCat(real, "\n", info.st_dev, " ", info.st_ino, " ", info.st_size, " ", info.st_mtim.tv_sec, ".",
                      info.st_mtim.tv_nsec, " ", info.st_ctim.tv_sec, ".", info.st_ctim.tv_nsec, "\n");
}

absl::StatusOr<std::string> CachePath(const std::string& cache_dir, const std::vector<std::string>& files) {
  std::string key = "droidspeak/digest-cache/v1\n";
  for (const std::string& file : files) {
    ASSIGN_OR_RETURN(const std::string identity, FileIdentity(file));
    key += identity;
  }
  return absl::StrCat(cache_dir, "/", Sha256Of(key).Hex());
}

void SaveDigest(const std::string& cache_dir, const std::string& path, const Digest& digest) {
  std::error_code error;
  std::filesystem::create_directories(cache_dir, error);
  if (const absl::Status saved = WriteFileAtomically(path, digest.Hex(), 0600); !saved.ok()) {
    spdlog::debug("model digest is not cached: {}", std::string(saved.message()));
  }
}

// The digest of `checkpoint` and `lines`, from the cache if `files`, all that they depend on, are unchanged.
absl::StatusOr<Digest> CachedDigest(const std::string& cache_dir, const std::vector<std::string>& files,
                                    const Checkpoint& checkpoint, std::string_view lines) {
  if (cache_dir.empty()) return DigestCheckpoint(checkpoint, lines);
  ASSIGN_OR_RETURN(const std::string path, CachePath(cache_dir, files));
  if (const auto text = ReadFile(path, 64); text.ok()) {
    if (const auto digest = Digest::FromHex(*text); digest.ok()) return *digest;
  }
  const Digest digest = DigestCheckpoint(checkpoint, lines);
  SaveDigest(cache_dir, path, digest);
  return digest;
}

}  // namespace

absl::StatusOr<ModelDigests> ComputeModelDigests(const std::string& spec, const std::string& cache_dir) {
  ASSIGN_OR_RETURN(const ModelPath path, ParseModelPath(spec));
  ASSIGN_OR_RETURN(const ModelConfig config, LoadModelConfig(path.dir));
  ModelDigests digests;
  {
    ASSIGN_OR_RETURN(const Checkpoint checkpoint, Checkpoint::Open(path.dir));
    std::vector<std::string> files = checkpoint.paths();
    files.push_back(path.dir + "/config.json");
    ASSIGN_OR_RETURN(digests.weights, CachedDigest(cache_dir, files, checkpoint, config.CanonicalLines()));
  }
  if (!path.adapter.empty()) {
    ASSIGN_OR_RETURN(const auto adapter, LoraAdapter::Load(path.adapter, config));
    const std::string weights = path.adapter + "/adapter_model.safetensors";
    ASSIGN_OR_RETURN(const Checkpoint checkpoint, Checkpoint::OpenFile(weights));
    // Which modules are adapted depends on the base's layers too.
    const std::vector<std::string> files = {weights, path.adapter + "/adapter_config.json", path.dir + "/config.json"};
    ASSIGN_OR_RETURN(digests.adapter, CachedDigest(cache_dir, files, checkpoint, adapter->CanonicalLines()));
  }
  digests.model = ModelDigest(digests.weights, digests.adapter);
  return digests;
}

std::string DigestCacheDir() {
  if (const char* cache = std::getenv("XDG_CACHE_HOME"); cache != nullptr && *cache != '\0') {
    return absl::StrCat(cache, "/droidspeak/digests");
  }
  if (const char* home = std::getenv("HOME"); home != nullptr && *home != '\0') {
    return absl::StrCat(home, "/.cache/droidspeak/digests");
  }
  return "";
}

}  // namespace droidspeak
