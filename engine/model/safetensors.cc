// SPDX-License-Identifier: Apache-2.0
#include "engine/model/safetensors.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <set>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/files.h"
#include "common/base/status.h"
#include "engine/model/json_field.h"

namespace droidspeak {
namespace {

using Json = nlohmann::ordered_json;

constexpr uint64_t kHeaderLimitBytes = 100'000'000;  // the format's own
constexpr size_t kIndexLimitBytes = 256 << 20;
constexpr size_t kMaxRank = 8;
constexpr int64_t kMaxElements = int64_t{1} << 48;

// Bytes of one element, 0 for a dtype the format does not know.
int64_t ElementBytes(std::string_view dtype) {
  static const auto* const kBytes = new std::map<std::string, int64_t, std::less<>>{
      {"BOOL", 1}, {"U8", 1},  {"I8", 1},  {"F8_E5M2", 1}, {"F8_E4M3", 1}, {"I16", 2}, {"U16", 2}, {"F16", 2},
      {"BF16", 2}, {"I32", 4}, {"U32", 4}, {"F32", 4},     {"F64", 8},     {"I64", 8}, {"U64", 8}};
  const auto found = kBytes->find(dtype);
  return found == kBytes->end() ? 0 : found->second;
}

absl::Status Bad(const std::string& path, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat(path, ": ", what));
}

// One header entry, checked against a data section of `data_bytes`.
absl::StatusOr<StoredTensor> ParseEntry(const std::string& path, const std::string& name, const Json& entry,
                                        const std::byte* data, uint64_t data_bytes) {
  const auto bad = [&](absl::string_view what) { return Bad(path, absl::StrCat("tensor '", name, "': ", what)); };
  if (!entry.is_object()) return bad("its header entry is not an object");
  const auto dtype = entry.find("dtype");
  if (dtype == entry.end() || !dtype->is_string()) return bad("no 'dtype' string");
  StoredTensor tensor{.dtype = dtype->get<std::string>()};
  int64_t bytes = ElementBytes(tensor.dtype);
  if (bytes == 0) return bad(absl::StrCat("dtype ", ShowJson(*dtype), " is unknown to the format"));
  const auto shape = entry.find("shape");
  if (shape == entry.end() || !shape->is_array()) return bad("no 'shape' array");
  if (shape->size() > kMaxRank) return bad(absl::StrCat("rank ", shape->size(), "; expected at most ", kMaxRank));
  for (const Json& dimension : *shape) {
    if (!dimension.is_number_unsigned() || dimension.get<uint64_t>() > kMaxElements) {
      return bad(absl::StrCat("shape ", ShowJson(*shape), "; expected non-negative sizes"));
    }
    tensor.shape.push_back(dimension.get<int64_t>());
    if (__builtin_mul_overflow(bytes, tensor.shape.back(), &bytes)) return bad("shape overflows");
  }
  const auto offsets = entry.find("data_offsets");
  if (offsets == entry.end() || !offsets->is_array() || offsets->size() != 2 || !(*offsets)[0].is_number_unsigned() ||
      !(*offsets)[1].is_number_unsigned()) {
    return bad("'data_offsets' is not a pair of non-negative integers");
  }
  const uint64_t begin = (*offsets)[0].get<uint64_t>(), end = (*offsets)[1].get<uint64_t>();
  if (begin > end || end > data_bytes) {
    return bad(absl::StrCat("bytes [", begin, ", ", end, ") are not within the file's ", data_bytes,
                            " data bytes (truncated file?)"));
  }
  if (end - begin != static_cast<uint64_t>(bytes)) {
    return bad(absl::StrCat(end - begin, " bytes stored; expected ", bytes, " for ", tensor.dtype, " of shape ",
                            ShowJson(*shape)));
  }
  tensor.bytes = absl::MakeConstSpan(data + begin, end - begin);
  return tensor;
}

// The format allows neither overlaps nor holes: each byte of the data section belongs to exactly one tensor.
absl::Status CheckCoverage(const std::string& path, const std::map<std::string, StoredTensor>& tensors,
                           const std::byte* data, uint64_t data_bytes) {
  std::vector<const std::pair<const std::string, StoredTensor>*> order;
  for (const auto& item : tensors) order.push_back(&item);
  std::sort(order.begin(), order.end(), [](const auto* a, const auto* b) {
    return std::pair(a->second.bytes.data(), a->second.bytes.size()) <
           std::pair(b->second.bytes.data(), b->second.bytes.size());
  });
  uint64_t covered = 0;
  for (const auto* item : order) {
    const uint64_t begin = item->second.bytes.data() - data;
    if (begin != covered) {
      return Bad(path, absl::StrCat("tensor '", item->first, "' starts at data byte ", begin, "; expected ", covered,
                                    begin < covered ? " (overlaps another tensor)" : " (hole before it)"));
    }
    covered += item->second.bytes.size();
  }
  if (covered != data_bytes) {
    return Bad(path, absl::StrCat(data_bytes, " data bytes; its header describes ", covered));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::map<std::string, StoredTensor>> ParseHeader(const std::string& path, const std::byte* file,
                                                                uint64_t file_bytes) {
  if (file_bytes < 8) return Bad(path, absl::StrCat(file_bytes, " bytes; expected a safetensors file (at least 8)"));
  uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, file, sizeof(header_bytes));
  if (header_bytes > kHeaderLimitBytes || header_bytes > file_bytes - 8) {
    return Bad(path, absl::StrCat("header length ", header_bytes, "; expected at most ",
                                  std::min(kHeaderLimitBytes, file_bytes - 8), " (truncated, or not safetensors?)"));
  }
  const absl::string_view text(reinterpret_cast<const char*>(file + 8), header_bytes);
  ASSIGN_OR_RETURN(const Json header, ParseJsonObject(text, absl::StrCat(path, ": header")));
  const std::byte* data = file + 8 + header_bytes;
  const uint64_t data_bytes = file_bytes - 8 - header_bytes;
  std::map<std::string, StoredTensor> tensors;
  for (const auto& [name, entry] : header.items()) {
    if (name == "__metadata__") continue;
    ASSIGN_OR_RETURN(StoredTensor tensor, ParseEntry(path, name, entry, data, data_bytes));
    if (!tensors.emplace(name, std::move(tensor)).second) {
      return Bad(path, absl::StrCat("tensor '", name, "' stands twice in the header"));
    }
  }
  RETURN_IF_ERROR(CheckCoverage(path, tensors, data, data_bytes));
  return tensors;
}

}  // namespace

absl::StatusOr<std::unique_ptr<SafetensorsFile>> SafetensorsFile::Open(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return ErrnoStatus(errno, absl::StrCat("opening ", path));
  const absl::Cleanup close_fd = [fd] { ::close(fd); };
  struct stat info = {};
  if (::fstat(fd, &info) != 0) return ErrnoStatus(errno, absl::StrCat("reading the size of ", path));
  if (!S_ISREG(info.st_mode)) return Bad(path, "not a regular file");
  const auto bytes = static_cast<size_t>(info.st_size);
  if (bytes < 8) return Bad(path, absl::StrCat(bytes, " bytes; expected a safetensors file (at least 8)"));
  void* memory = ::mmap(nullptr, bytes, PROT_READ, MAP_PRIVATE, fd, 0);
  if (memory == MAP_FAILED) return ErrnoStatus(errno, absl::StrCat("mapping ", path));
  std::unique_ptr<SafetensorsFile> file(new SafetensorsFile(path, memory, bytes));
  ASSIGN_OR_RETURN(file->tensors_, ParseHeader(path, static_cast<const std::byte*>(memory), bytes));
  return file;
}

SafetensorsFile::~SafetensorsFile() {
  ::munmap(memory_, bytes_);
}

absl::StatusOr<Checkpoint> Checkpoint::OpenFile(const std::string& path) {
  Checkpoint checkpoint;
  checkpoint.source_ = path;
  ASSIGN_OR_RETURN(std::unique_ptr<SafetensorsFile> file, SafetensorsFile::Open(path));
  checkpoint.tensors_ = file->tensors();
  checkpoint.files_.push_back(std::move(file));
  return checkpoint;
}

absl::StatusOr<Checkpoint> Checkpoint::Open(const std::string& dir) {
  const std::string single = dir + "/model.safetensors", index = dir + "/model.safetensors.index.json";
  std::error_code ignored;
  if (std::filesystem::exists(single, ignored)) return OpenFile(single);
  if (!std::filesystem::exists(index, ignored)) {
    return absl::NotFoundError(
        absl::StrCat(dir, ": expected model.safetensors or model.safetensors.index.json; neither is there"));
  }
  ASSIGN_OR_RETURN(const std::string text, ReadFile(index, kIndexLimitBytes));
  ASSIGN_OR_RETURN(const Json json, ParseJsonObject(text, index));
  const auto map = json.find("weight_map");
  if (map == json.end() || !map->is_object()) return Bad(index, "no 'weight_map' object");
  Checkpoint checkpoint;
  checkpoint.source_ = index;
  std::map<std::string, const SafetensorsFile*> shards;
  for (const auto& [name, shard] : map->items()) {
    if (!shard.is_string()) return Bad(index, absl::StrCat("tensor '", name, "': its shard is not a file name"));
    const auto shard_name = shard.get<std::string>();
    if (shard_name.empty() || shard_name.find('/') != std::string::npos) {
      return Bad(index, absl::StrCat("tensor '", name, "': shard '", shard_name, "' is not a plain file name"));
    }
    const SafetensorsFile*& file = shards[shard_name];
    if (file == nullptr) {
      ASSIGN_OR_RETURN(auto opened, SafetensorsFile::Open(absl::StrCat(dir, "/", shard_name)));
      file = checkpoint.files_.emplace_back(std::move(opened)).get();
    }
    const auto found = file->tensors().find(name);
    if (found == file->tensors().end()) {
      return absl::NotFoundError(
          absl::StrCat(file->path(), ": tensor '", name, "' is not there; ", index, " says it is"));
    }
    checkpoint.tensors_.insert(*found);
  }
  return checkpoint;
}

std::vector<std::string> Checkpoint::paths() const {
  std::vector<std::string> paths;
  for (const auto& file : files_) paths.push_back(file->path());
  return paths;
}

absl::StatusOr<const StoredTensor*> Checkpoint::Find(const std::string& name) const {
  const auto found = tensors_.find(name);
  if (found == tensors_.end()) return absl::NotFoundError(absl::StrCat(source_, ": tensor '", name, "' is missing"));
  return &found->second;
}

void ReleasePages(const StoredTensor& tensor) {
  // Whole pages only: the ends may hold neighbours that are still read.
  static const auto page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto begin = reinterpret_cast<uintptr_t>(tensor.bytes.data());
  const uintptr_t first = (begin + page - 1) / page * page, end = (begin + tensor.bytes.size()) / page * page;
  // A wish; the mapping is read only, so dropped pages come back from the file.
  if (first < end) ::madvise(reinterpret_cast<void*>(first), end - first, MADV_DONTNEED);
}

absl::Status WriteSafetensors(const std::string& path, absl::Span<const TensorToWrite> tensors) {
  Json header = Json::object();
  uint64_t offset = 0;
  for (const TensorToWrite& tensor : tensors) {
    int64_t expected = ElementBytes(tensor.dtype);
    for (const int64_t size : tensor.shape) expected *= size;
    if (expected != static_cast<int64_t>(tensor.bytes.size()) || header.contains(tensor.name)) {
      return absl::InternalError(absl::StrCat("writing ", path, ": tensor '", tensor.name,
                                              "' stands twice or its bytes do not fit its shape"));
    }
    header[tensor.name] = {
        {"dtype", tensor.dtype}, {"shape", tensor.shape}, {"data_offsets", {offset, offset + tensor.bytes.size()}}};
    offset += tensor.bytes.size();
  }
  std::string text = header.dump(-1, ' ', false, Json::error_handler_t::replace);
  text.resize((text.size() + 7) / 8 * 8, ' ');  // the format pads so that data is aligned
  const uint64_t header_bytes = text.size();
  std::string contents(reinterpret_cast<const char*>(&header_bytes), sizeof(header_bytes));
  contents.reserve(sizeof(header_bytes) + text.size() + offset);
  contents += text;
  for (const TensorToWrite& tensor : tensors) {
    contents.append(reinterpret_cast<const char*>(tensor.bytes.data()), tensor.bytes.size());
  }
  return WriteFileAtomically(path, contents);
}

}  // namespace droidspeak
