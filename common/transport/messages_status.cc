// SPDX-License-Identifier: Apache-2.0
// What ends requests, cancellation, and actions on blocks.
#include <algorithm>

#include "absl/status/status.h"
#include "common/transport/codec.h"

namespace droidspeak::wire {
namespace {

constexpr uint32_t kMaxCode = static_cast<uint32_t>(absl::StatusCode::kUnauthenticated);

// A text above the limit is cut: it may come from anywhere.
void PutStatus(Writer& out, uint32_t code, uint32_t count, uint32_t retry_ms, const std::string& text) {
  DROIDSPEAK_CHECK(code <= kMaxCode);
  const auto bytes = static_cast<uint32_t>(std::min<size_t>(text.size(), kMaxStatusTextBytes));
  out.Struct(StatusBody{code, count, retry_ms, bytes});
  out.Array(absl::Span<const char>(text.data(), bytes));
}

bool GetStatus(Reader& in, StatusBody& body, std::string& text) {
  return in.Struct(body) && body.code <= kMaxCode && body.text_bytes <= kMaxStatusTextBytes &&
         in.Text(body.text_bytes, text);
}

}  // namespace

void Put(Writer& out, const FetchDone& m) {
  PutStatus(out, m.code, 0, 0, m.text);
}

bool Get(Reader& in, FetchDone& m) {
  StatusBody body;
  if (!GetStatus(in, body, m.text) || body.count != 0 || body.retry_ms != 0) return false;
  m.code = body.code;
  return true;
}

void Put(Writer& out, const Filled& m) {
  PutStatus(out, m.code, m.extents, 0, m.text);
}

bool Get(Reader& in, Filled& m) {
  StatusBody body;
  if (!GetStatus(in, body, m.text) || body.retry_ms != 0) return false;
  m.extents = body.count;
  m.code = body.code;
  return true;
}

void Put(Writer& out, const Sealed& m) {
  PutStatus(out, m.code, 0, 0, m.text);
}

bool Get(Reader& in, Sealed& m) {
  StatusBody body;
  if (!GetStatus(in, body, m.text) || body.count != 0 || body.retry_ms != 0) return false;
  m.code = body.code;
  return true;
}

void Put(Writer&, const CancelRequest&) {}
void Put(Writer&, const Cancelled&) {}
bool Get(Reader&, CancelRequest&) {
  return true;
}
bool Get(Reader&, Cancelled&) {
  return true;
}

void Put(Writer& out, const ActionRequest& m) {
  DROIDSPEAK_CHECK(m.blocks.size() <= kMaxBlocksPerMessage);
  out.Struct(ActionBody{m.namespace_id, static_cast<uint32_t>(m.action), static_cast<uint32_t>(m.blocks.size()), 0});
  out.Array(m.blocks);
}

bool Get(Reader& in, ActionRequest& m) {
  ActionBody body;
  if (!in.Struct(body) || body.reserved != 0 || body.blocks > kMaxBlocksPerMessage) return false;
  if (body.action > static_cast<uint32_t>(BlockAction::kRemove)) return false;
  m.namespace_id = body.namespace_id;
  m.action = static_cast<BlockAction>(body.action);
  return in.Array(body.blocks, m.blocks);
}

void Put(Writer& out, const StatusAnswer& m) {
  PutStatus(out, m.code, m.count, m.retry_ms, m.text);
}

bool Get(Reader& in, StatusAnswer& m) {
  StatusBody body;
  if (!GetStatus(in, body, m.text)) return false;
  m.code = body.code;
  m.count = body.count;
  m.retry_ms = body.retry_ms;
  return true;
}

}  // namespace droidspeak::wire
