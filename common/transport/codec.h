// SPDX-License-Identifier: Apache-2.0
// Internal to messages*.cc: writing and reading of fixed structs and arrays, and one Put and Get a message.
#pragma once

#include <cstring>
#include <type_traits>
#include <vector>

#include "absl/types/span.h"
#include "common/base/check.h"
#include "common/transport/messages.h"
#include "common/transport/wire.h"

namespace droidspeak::wire {

// Appends to a message.
class Writer {
 public:
  template <typename T>
  void Struct(const T& value) {
    Array(absl::Span<const T>(&value, 1));
  }

  // The elements as they lie in memory: their layout is the wire's.
  template <typename T>
  void Array(absl::Span<const T> values) {
    static_assert(std::is_trivially_copyable_v<T> && std::has_unique_object_representations_v<T>);
    const auto* bytes = reinterpret_cast<const std::byte*>(values.data());
    bytes_.insert(bytes_.end(), bytes, bytes + values.size() * sizeof(T));
  }
  template <typename T>
  void Array(const std::vector<T>& values) {
    Array(absl::Span<const T>(values));
  }

  std::vector<std::byte>& bytes() { return bytes_; }

 private:
  std::vector<std::byte> bytes_;
};

// Takes from a message that isn't trusted; every method is false if that much is not left.
class Reader {
 public:
  explicit Reader(absl::Span<const std::byte> bytes) : left_(bytes) {}

  template <typename T>
  [[nodiscard]] bool Struct(T& value) {
    static_assert(std::is_trivially_copyable_v<T> && std::has_unique_object_representations_v<T>);
    if (left_.size() < sizeof(T)) return false;
    std::memcpy(&value, left_.data(), sizeof(T));
    left_.remove_prefix(sizeof(T));
    return true;
  }

  // `count` elements; nothing is allocated unless they are all there.
  template <typename T>
  [[nodiscard]] bool Array(size_t count, std::vector<T>& values) {
    static_assert(std::is_trivially_copyable_v<T> && std::has_unique_object_representations_v<T>);
    if (count > left_.size() / sizeof(T)) return false;
    values.resize(count);
    if (count > 0) std::memcpy(values.data(), left_.data(), count * sizeof(T));
    left_.remove_prefix(count * sizeof(T));
    return true;
  }

  [[nodiscard]] bool Text(size_t bytes, std::string& text) {
    if (bytes > left_.size()) return false;
    text.assign(reinterpret_cast<const char*>(left_.data()), bytes);
    left_.remove_prefix(bytes);
    return true;
  }

  bool empty() const { return left_.empty(); }

 private:
  absl::Span<const std::byte> left_;
};

// What follows the header. Get is false if the bytes are not a valid message of that type; whether something is left
// over is the caller's to check.
// Hello: messages_hello.cc
void Put(Writer& out, const ClientHello& m);
void Put(Writer& out, const ServerHello& m);
void Put(Writer& out, const ClientProof& m);
void Put(Writer& out, const HelloDone& m);
bool Get(Reader& in, ClientHello& m);
bool Get(Reader& in, ServerHello& m);
bool Get(Reader& in, ClientProof& m);
bool Get(Reader& in, HelloDone& m);
// Coverage, fetch: messages_fetch.cc
void Put(Writer& out, const CoverageRequest& m);
void Put(Writer& out, const CoverageAnswer& m);
void Put(Writer& out, const FetchRequest& m);
void Put(Writer& out, const FetchAccepted& m);
void Put(Writer& out, const LayerDone& m);
void PutItems(Writer& out, const std::vector<TransferItem>& items);
bool Get(Reader& in, CoverageRequest& m);
bool Get(Reader& in, CoverageAnswer& m);
bool Get(Reader& in, FetchRequest& m);
bool Get(Reader& in, FetchAccepted& m);
bool Get(Reader& in, LayerDone& m);
bool GetItems(Reader& in, uint32_t count, std::vector<TransferItem>& items);
// Store: messages_store.cc
void Put(Writer& out, const OfferRequest& m);
void Put(Writer& out, const OfferAnswer& m);
void Put(Writer& out, const FillRequest& m);
void Put(Writer& out, const SealRequest& m);
bool Get(Reader& in, OfferRequest& m);
bool Get(Reader& in, OfferAnswer& m);
bool Get(Reader& in, FillRequest& m);
bool Get(Reader& in, SealRequest& m);
// Ends, cancellation, actions: messages_status.cc
void Put(Writer& out, const FetchDone& m);
void Put(Writer& out, const Filled& m);
void Put(Writer& out, const Sealed& m);
void Put(Writer& out, const CancelRequest& m);
void Put(Writer& out, const Cancelled& m);
void Put(Writer& out, const ActionRequest& m);
void Put(Writer& out, const StatusAnswer& m);
bool Get(Reader& in, FetchDone& m);
bool Get(Reader& in, Filled& m);
bool Get(Reader& in, Sealed& m);
bool Get(Reader& in, CancelRequest& m);
bool Get(Reader& in, Cancelled& m);
bool Get(Reader& in, ActionRequest& m);
bool Get(Reader& in, StatusAnswer& m);

}  // namespace droidspeak::wire
