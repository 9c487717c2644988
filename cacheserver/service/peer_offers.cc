// SPDX-License-Identifier: Apache-2.0
// Offers of a connection: OFFER, FILL, SEAL.
#include <utility>

#include "absl/strings/str_cat.h"
#include "cacheserver/service/fetch.h"
#include "cacheserver/service/fill.h"
#include "cacheserver/service/peer.h"
#include "cacheserver/service/tuning.h"
#include "common/base/status.h"

namespace droidspeak {

void Peer::Handle(const wire::OfferRequest& request) {
  const absl::Status status = StartOffer(request);
  if (!status.ok()) Refuse(request.request_id, status);
}

absl::Status Peer::StartOffer(const wire::OfferRequest& request) {
  RETURN_IF_ERROR(Admit(request.request_id, Role::kFill));
  if (context_.drained != nullptr && *context_.drained) {
    return absl::UnavailableError("the server is being drained: it takes no more offers");
  }
  ASSIGN_OR_RETURN(const SessionNamespace* space, FindNamespace(request.namespace_id));
  if (offers_.size() >= tuning::kOffersPerConnection ||
      offered_blocks_ + request.blocks.size() > tuning::kOfferedBlocksPerConnection) {
    return absl::ResourceExhaustedError(absl::StrCat("the connection has ", offers_.size(), " offers of ",
                                                     offered_blocks_, " blocks open, the most allowed"));
  }
  ASSIGN_OR_RETURN(ExtentStore::OfferResult made,
                   context_.store.MakeOffer(session_->id(), session_->tenant(), space->store_id, request.blocks,
                                            request.kv, request.e, context_.offer_lease));
  OpenOffer& offer = offers_[request.request_id];
  offer.offer = std::move(made.offer);
  offer.layout = space->layout;
  for (const wire::OfferBlock& block : request.blocks) offer.hashes.push_back(block.hash);
  offered_blocks_ += offer.hashes.size();
  Send(wire::OfferAnswer{request.request_id, static_cast<uint32_t>(absl::ToInt64Milliseconds(context_.offer_lease)),
                         std::move(made.blocks)});
  return absl::OkStatus();
}

void Peer::Handle(wire::FillRequest& request) {
  const uint64_t request_id = request.request_id;
  const absl::Status status = StartFill(request);
  if (!status.ok()) Refuse(request_id, status);
}

absl::Status Peer::StartFill(wire::FillRequest& request) {
  RETURN_IF_ERROR(Admit(request.request_id, Role::kFill));
  const auto found = offers_.find(request.offer_id);
  if (found == offers_.end() || found->second.seal.has_value() || found->second.cancel) {
    return absl::NotFoundError(absl::StrCat("offer ", request.offer_id, " is not open on this connection"));
  }
  OpenOffer& offer = found->second;
  RETURN_IF_ERROR(ValidateItems(request.items, request.slots, offer.layout));
  std::vector<Digest> hashes;
  hashes.reserve(request.blocks.size());
  for (const uint32_t block : request.blocks) {
    if (block >= offer.hashes.size()) {
      return absl::InvalidArgumentError(
          absl::StrCat("block ", block, " of an offer of ", offer.hashes.size(), " blocks"));
    }
    hashes.push_back(offer.hashes[block]);
  }
  const absl::Time now = SteadyNow();
  auto fill = std::make_shared<FillTransfer>(*this, NextSerial(), std::move(request), offer.layout, offer.offer,
                                             std::move(hashes), now, now + tuning::kMaxRequestTime);
  ++offer.fills;
  serials_[fill->request_id()] = fill->serial();
  transfers_[fill->serial()] = fill;
  context_.scheduler.Add(*fill);
  return absl::OkStatus();
}

void Peer::Handle(const wire::SealRequest& request) {
  const auto found = offers_.find(request.offer_id);
  if (found == offers_.end() || found->second.seal.has_value() || found->second.cancel) {
    return Refuse(request.request_id,
                  absl::NotFoundError(absl::StrCat("offer ", request.offer_id, " is not open on this connection")));
  }
  found->second.seal = request;
  EndOfferIfDrained(request.offer_id);
}

void Peer::EndOfferIfDrained(uint64_t offer_id) {
  const auto found = offers_.find(offer_id);
  if (found == offers_.end()) return;  // the end of its last fill was its own
  OpenOffer& offer = found->second;
  if (offer.fills > 0 || (!offer.seal.has_value() && !offer.cancel)) return;
  const OfferPtr ended = std::move(offer.offer);
  const std::optional<wire::SealRequest> seal = offer.seal;
  const bool cancel = offer.cancel;
  const size_t blocks = offer.hashes.size();
  offers_.erase(found);
  if (cancel) Send(wire::Cancelled{offer_id});
  const bool durable = seal.has_value() && seal->durable;
  const auto on_sealed = [peer = weak_from_this(), inbox = context_.inbox, seal, blocks](const absl::Status& status) {
    inbox->Post([peer, seal, blocks, status] {
      const std::shared_ptr<Peer> alive = peer.lock();
      if (alive == nullptr) return;
      alive->offered_blocks_ -= blocks;  // until here: what waits to become durable takes memory, too
      if (!seal.has_value()) return;
      alive->Send(wire::Sealed{seal->request_id, static_cast<uint32_t>(status.code()), AnswerText(status)});
    });
  };
  context_.store.Seal(ended, durable, on_sealed);
}

}  // namespace droidspeak
