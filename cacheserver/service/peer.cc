// SPDX-License-Identifier: Apache-2.0
#include "cacheserver/service/peer.h"

#include <algorithm>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "cacheserver/service/fetch.h"
#include "cacheserver/service/tuning.h"
#include "common/base/log.h"
#include "common/base/status.h"

namespace droidspeak {
namespace {

absl::StatusOr<SessionKey> KeyOf(const SessionTable& sessions, uint64_t session_id) {
  const std::shared_ptr<Session> session = sessions.Find(session_id);
  if (session == nullptr) return absl::NotFoundError("no such session");
  return session->data_key();
}

uint64_t BytesOf(absl::Span<const wire::BlockCoverage> coverage, const Layout& layout) {
  uint64_t bytes = 0;
  for (const wire::BlockCoverage& block : coverage) {
    for (const uint64_t bits : block.kv) bytes += __builtin_popcountll(bits) * layout.kv_bytes();
    for (const uint64_t bits : block.e) bytes += __builtin_popcountll(bits) * layout.e_bytes();
  }
  return bytes;
}

}  // namespace

std::string AnswerText(const absl::Status& status) {
  return std::string(status.message().substr(0, wire::kMaxStatusTextBytes));
}

Peer::Peer(DataContext& context, std::string_view transport, std::unique_ptr<Connection> connection, absl::Time now)
    : context_(context),
      transport_(transport),
      connection_(std::move(connection)),
      connected_(now),
      handshake_([&context](uint64_t session_id) { return KeyOf(context.sessions, session_id); }),
      last_progress_(now) {
  for (const Kind kind : {Kind::kKv, Kind::kE}) {
    for (size_t tier = 0; tier < kTiers; ++tier) {
      fetch_bytes_[static_cast<size_t>(kind)][tier] = &context.metrics.FetchBytes(transport_, kind, tier);
    }
  }
}

Peer::~Peer() {
  connection_.reset();  // first: nothing moves any more when the transfers give back their memory
}

void Peer::Send(const wire::Message& message) {
  if (closing_) return;
  const absl::Status status = connection_->Send(wire::Encode(message));
  if (!status.ok()) Close();
}

void Peer::Close() {
  if (closing_) return;
  closing_ = true;
  connection_->Close();
}

void Peer::Misbehaved(const absl::Status& why) {
  context_.metrics.Rejected(why.code());
  spdlog::warn("data plane: {} is cut off: {}", connection_->peer(), ToStd(why.message()));
  Close();
}

void Peer::Refuse(uint64_t request_id, const absl::Status& why) {
  context_.metrics.Rejected(why.code());
  const bool busy = absl::IsResourceExhausted(why);
  Send(wire::StatusAnswer{request_id, static_cast<uint32_t>(why.code()), 0, busy ? tuning::kRetryMs : 0,
                          AnswerText(why)});
}

void Peer::OnMessage(Connection&, absl::Span<const std::byte> message) {
  if (closing_) return;
  if (session_ == nullptr) return Greet(message);
  if (session_->ended()) return Close();
  absl::StatusOr<wire::Message> decoded = wire::Decode(message);
  if (!decoded.ok()) return Misbehaved(decoded.status());
  std::visit([this](auto& request) { Handle(request); }, *decoded);
}

void Peer::Greet(absl::Span<const std::byte> message) {
  const absl::StatusOr<std::vector<std::byte>> reply = handshake_.Next(message);
  if (!reply.ok()) return Misbehaved(reply.status());
  if (handshake_.done()) {
    session_ = context_.sessions.Find(handshake_.session_id());
    if (session_ == nullptr) return Close();  // ended meanwhile
    if (++session_->load.connections > tuning::kSessionConnections) {
      return Misbehaved(absl::ResourceExhaustedError("its session has too many connections"));
    }
    connection_->Authorize();
  }
  if (reply->empty()) return;
  if (!connection_->Send(*reply).ok()) Close();
}

void Peer::OnTransferDone(Connection&, uint64_t token, const absl::Status& status) {
  const auto found = transfers_.find(static_cast<uint32_t>(token >> 32));
  if (found == transfers_.end()) return;
  const std::shared_ptr<Transfer> transfer = found->second;
  last_progress_ = SteadyNow();
  transfer->PieceDone(static_cast<uint32_t>(token), status);
}

void Peer::OnClosed(Connection&, const absl::Status& why) {
  closing_ = true;
  closed_ = true;
  if (session_ != nullptr) --session_->load.connections;
  spdlog::debug("data plane: {} closed: {}", connection_->peer(), ToStd(why.message()));
  for (const auto& [serial, transfer] : transfers_) {
    context_.scheduler.Remove(*transfer);
    transfer->Detach();
  }
  transfers_.clear();
  serials_.clear();
  for (const auto& [id, offer] : offers_)
    context_.store.Seal(offer.offer, /*durable=*/false, [](const absl::Status&) {});
  offers_.clear();
  holds_.clear();
  // A pin or an offer may have come between the session's end and this connection's.
  if (session_ != nullptr && session_->ended()) context_.store.DropOwner(session_->id());
}

void Peer::Tick(absl::Time now) {
  if (closing_) return;
  if (session_ == nullptr) {
    if (now > connected_ + tuning::kHelloTimeout) Misbehaved(absl::DeadlineExceededError("no hello in time"));
    return;
  }
  if (session_->ended()) return Close();
  while (!holds_.empty() && holds_.front().until <= now) {
    held_bytes_ -= holds_.front().bytes;
    holds_.pop_front();
  }
  std::vector<std::shared_ptr<Transfer>> late;
  bool under_way = false;
  for (const auto& [serial, transfer] : transfers_) {
    transfer->Tick(now);
    under_way |= transfer->under_way();
    if (transfer->deadline() <= now) late.push_back(transfer);
  }
  if (!under_way) last_progress_ = now;
  if (last_progress_ < now - tuning::kStallTimeout) {
    return Misbehaved(absl::DeadlineExceededError("its transfers make no progress"));
  }
  for (const auto& transfer : late) transfer->Stop(absl::DeadlineExceededError("the request's time is over"));
}

void Peer::TransferEnded(Transfer& transfer, bool cancelled) {
  context_.scheduler.Remove(transfer);
  const uint64_t request_id = transfer.request_id();
  const std::optional<uint64_t> offer_id = transfer.offer_id();
  serials_.erase(request_id);
  transfers_.erase(transfer.serial());
  if (cancelled) Send(wire::Cancelled{request_id});
  if (!offer_id.has_value()) return;
  const auto offer = offers_.find(*offer_id);
  if (offer == offers_.end()) return;
  --offer->second.fills;
  EndOfferIfDrained(*offer_id);
}

absl::Status Peer::Admit(uint64_t request_id, Role role) const {
  RETURN_IF_ERROR(session_->identity().Require(role));
  if (context_.draining) return absl::UnavailableError("the server is shutting down");
  if (serials_.contains(request_id) || offers_.contains(request_id)) {
    return absl::AlreadyExistsError(absl::StrCat("request ", request_id, " is under way already"));
  }
  if (session_->load.requests >= tuning::kSessionRequests) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the session has ", tuning::kSessionRequests, " requests under way, the most allowed"));
  }
  if (context_.scheduler.transfers() >= tuning::kServerRequests) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the server has ", tuning::kServerRequests, " requests under way, the most allowed"));
  }
  return absl::OkStatus();
}

absl::StatusOr<const SessionNamespace*> Peer::FindNamespace(uint32_t id) const {
  const SessionNamespace* space = session_->FindNamespace(id);
  if (space == nullptr) return absl::NotFoundError(absl::StrCat("the session has not opened a namespace ", id));
  return space;
}

void Peer::Handle(const wire::CoverageRequest& request) {
  if (const absl::Status allowed = session_->identity().Require(Role::kRead); !allowed.ok()) {
    return Refuse(request.request_id, allowed);
  }
  wire::CoverageAnswer answer{request.request_id, {}};
  for (const wire::CoverageGroup& group : request.groups) {
    const absl::StatusOr<const SessionNamespace*> space = FindNamespace(group.namespace_id);
    if (!space.ok()) return Refuse(request.request_id, space.status());
    const size_t start = answer.blocks.size();
    answer.blocks.resize(start + group.blocks.size());
    const absl::Span<wire::BlockCoverage> part(answer.blocks.data() + start, group.blocks.size());
    context_.store.Coverage(session_->tenant(), (*space)->store_id, group.blocks, part);
    if (request.hold_ms > 0) AddHold(**space, group, part, request.hold_ms);
  }
  size_t hits = 0;
  for (const wire::BlockCoverage& block : answer.blocks) {
    const auto any = [](const wire::LayerBits& bits) { return (bits[0] | bits[1] | bits[2] | bits[3]) != 0; };
    hits += any(block.kv) || any(block.e) ? 1 : 0;
  }
  context_.metrics.coverage_hits.Increment(static_cast<double>(hits));
  context_.metrics.coverage_misses.Increment(static_cast<double>(answer.blocks.size() - hits));
  Send(std::move(answer));
}

void Peer::AddHold(const SessionNamespace& space, const wire::CoverageGroup& group,
                   absl::Span<const wire::BlockCoverage> coverage, uint32_t hold_ms) {
  const uint64_t bytes = BytesOf(coverage, space.layout);
  if (held_bytes_ + bytes > tuning::kHoldBytes) return;  // a hold is a wish
  Acquired held = context_.store.Acquire(session_->tenant(), space.store_id, group.blocks, {});
  const absl::Time until = SteadyNow() + absl::Milliseconds(hold_ms);
  // Kept in the order in which they end: Tick() looks at the front only.
  const auto after = std::upper_bound(holds_.begin(), holds_.end(), until,
                                      [](absl::Time time, const Hold& hold) { return time < hold.until; });
  holds_.insert(after, Hold{until, bytes, std::move(held.references)});
  held_bytes_ += bytes;
}

void Peer::Handle(wire::FetchRequest& request) {
  const absl::Status status = StartFetch(request);
  if (!status.ok()) Refuse(request.request_id, status);
}

absl::Status Peer::StartFetch(wire::FetchRequest& request) {
  RETURN_IF_ERROR(Admit(request.request_id, Role::kRead));
  ASSIGN_OR_RETURN(const SessionNamespace* space, FindNamespace(request.namespace_id));
  RETURN_IF_ERROR(ValidateItems(request.items, request.slots, space->layout));
  if (request.remaining_ms == 0) return absl::DeadlineExceededError("the fetch had no time left when it arrived");
  const absl::Time now = SteadyNow();
  const absl::Time deadline = now + std::min(absl::Milliseconds(request.remaining_ms), tuning::kMaxRequestTime);

  std::vector<ExtentSelector> wanted;
  wanted.reserve(request.items.size());
  for (const wire::TransferItem& item : request.items) wanted.push_back({item.kind, item.layer});
  Acquired acquired = context_.store.Acquire(session_->tenant(), space->store_id, request.blocks, wanted);
  const auto accepted = static_cast<uint32_t>(acquired.references.size());
  request.blocks = {};  // the references name them from here on
  request.slots.resize(accepted);
  request.slots.shrink_to_fit();

  const uint64_t request_id = request.request_id;
  auto fetch = std::make_shared<FetchTransfer>(*this, NextSerial(), std::move(request), space->layout,
                                               std::move(acquired.references), now, deadline);
  Send(wire::FetchAccepted{request_id, accepted, acquired.tier_bytes, acquired.tier_extents});
  serials_[request_id] = fetch->serial();
  transfers_[fetch->serial()] = fetch;
  context_.scheduler.Add(*fetch);
  return absl::OkStatus();
}

void Peer::Handle(const wire::CancelRequest& request) {
  const auto serial = serials_.find(request.request_id);
  if (serial != serials_.end()) {
    const std::shared_ptr<Transfer> transfer = transfers_.at(serial->second);
    return transfer->Cancel();
  }
  const auto offer = offers_.find(request.request_id);
  if (offer == offers_.end()) return Send(wire::Cancelled{request.request_id});  // it has ended
  offer->second.cancel = true;
  std::vector<std::shared_ptr<Transfer>> fills;
  for (const auto& [number, transfer] : transfers_) {
    if (transfer->offer_id() == request.request_id) fills.push_back(transfer);
  }
  for (const auto& fill : fills) fill->Cancel();
  EndOfferIfDrained(request.request_id);
}

void Peer::Handle(const wire::ActionRequest& request) {
  const absl::StatusOr<uint32_t> count = Act(request);
  if (!count.ok()) return Refuse(request.request_id, count.status());
  Send(wire::StatusAnswer{request.request_id, 0, *count, 0, ""});
}

absl::StatusOr<uint32_t> Peer::Act(const wire::ActionRequest& request) {
  RETURN_IF_ERROR(Admit(request.request_id, request.action == wire::BlockAction::kRemove ? Role::kFill : Role::kRead));
  ASSIGN_OR_RETURN(const SessionNamespace* space, FindNamespace(request.namespace_id));
  ExtentStore& store = context_.store;
  switch (request.action) {
    case wire::BlockAction::kPin:
      return store.Pin(session_->id(), session_->tenant(), space->store_id, request.blocks);
    case wire::BlockAction::kUnpin:
      return store.Unpin(session_->id(), session_->tenant(), space->store_id, request.blocks);
    case wire::BlockAction::kRemove:
      return store.Remove(session_->tenant(), space->store_id, request.blocks);
  }
  return absl::InvalidArgumentError("unknown action");
}

}  // namespace droidspeak
