// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <utility>

#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "client/src/client_impl.h"
#include "client/src/coverage.h"
#include "client/src/fetch.h"
#include "client/src/store.h"
#include "common/base/log.h"
#include "common/base/status.h"
#include "common/key/placement.h"
#include "common/memory/host_arena.h"
#include "common/tls/certificate.h"
#include "common/transport/transport.h"

namespace droidspeak {

static_assert(kMaxBlocksPerRequest == wire::kMaxBlocksPerMessage);
namespace {

// What this client can use, best first.
std::vector<std::string> AllowedTransports(const ClientOptions& options) {
  if (options.transport != "auto") return {options.transport};
  if (!options.tls.empty()) return {"local", "tcp"};  // the others do not encrypt
  return TransportNames();
}

}  // namespace

absl::StatusOr<std::unique_ptr<Client>> Client::Connect(const ClientOptions& options) {
  if (options.servers.empty()) return absl::InvalidArgumentError("no servers are given");
  if (!options.tls.empty()) RETURN_IF_ERROR(CheckTlsFiles(options.tls));
  ASSIGN_OR_RETURN(std::unique_ptr<Reactor> reactor, Reactor::Create(AllowedTransports(options)));
  auto client = std::make_unique<ClientImpl>(options, std::move(reactor));
  RETURN_IF_ERROR(client->WaitUntilConnected());
  return client;
}

ClientImpl::ClientImpl(ClientOptions options, std::unique_ptr<Reactor> reactor)
    : options_(std::move(options)), reactor_(std::move(reactor)) {
  for (const ServerAddress& server : options_.servers) {
    names_.push_back(server.name);
    sessions_.push_back(std::make_unique<ServerSession>(*reactor_, directory_, server, reactor_->transports(),
                                                        options_.tls, options_.connect_timeout));
  }
}

ClientImpl::~ClientImpl() = default;

absl::Status ClientImpl::WaitUntilConnected() {
  std::vector<std::string> problems;
  for (size_t i = 0; i < sessions_.size(); ++i) {
    const absl::Status first = sessions_[i]->WaitForFirstAttempt();
    if (first.ok()) continue;
    const std::string problem = absl::StrCat(options_.servers[i].host_port, ": ", first.message());
    if (absl::IsFailedPrecondition(first)) return absl::FailedPreconditionError(problem);
    spdlog::warn("server {}", problem);
    problems.push_back(problem);
  }
  if (problems.size() < sessions_.size()) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat("no cache server can be reached: ", absl::StrJoin(problems, "; ")));
}

int ClientImpl::live_servers() const {
  return static_cast<int>(std::count_if(sessions_.begin(), sessions_.end(),
                                        [](const auto& session) { return session->link() != nullptr; }));
}

std::vector<ServerConnection> ClientImpl::connections() const {
  std::vector<ServerConnection> connections;
  for (const auto& session : sessions_) {
    const std::shared_ptr<Link> link = session->link();
    if (link == nullptr) continue;
    const SessionInfo& info = link->session();
    connections.push_back({info.server_name, info.transport, info.reason});
  }
  return connections;
}

absl::StatusOr<NamespaceHandle> ClientImpl::OpenNamespace(const Digest& weights, const Digest* adapter,
                                                          const Layout& layout) {
  RETURN_IF_ERROR(layout.Validate());
  const int index =
      directory_.AddNamespace(weights, adapter == nullptr ? std::nullopt : std::optional<Digest>(*adapter), layout);
  absl::Status last = absl::UnavailableError("no cache server can be reached");
  for (const auto& session : sessions_) {
    const absl::Status opened = session->OpenNamespace(index);
    if (absl::IsFailedPrecondition(opened) || absl::IsInvalidArgument(opened)) return opened;
    if (!opened.ok()) last = opened;
  }
  const std::optional<Digest> bytes = directory_.namespace_key(index).bytes;
  if (!bytes.has_value()) return last;
  return NamespaceHandle{index, *bytes, layout};
}

absl::StatusOr<std::unique_ptr<Region>> ClientImpl::AllocateRegion(uint64_t bytes) {
  if (bytes == 0) return absl::InvalidArgumentError("a region of 0 bytes");
  ASSIGN_OR_RETURN(std::unique_ptr<HostArena> arena, HostArena::Create("droidspeak-region", bytes));
  auto memory = std::make_shared<RegionMemory>(next_region_.fetch_add(1), std::move(arena));
  directory_.AddRegion(memory);
  for (const auto& session : sessions_) session->Announce(memory);
  return std::make_unique<RegionImpl>(memory, [this](uint32_t id) {
    directory_.RemoveRegion(id);
    for (const auto& session : sessions_) session->Withdraw(id);
  });
}

absl::StatusOr<std::vector<ClientImpl::Share>> ClientImpl::Divide(const NamespaceHandle& ns,
                                                                  absl::Span<const Digest> blocks, int first_position,
                                                                  const std::optional<Digest>& stripe_key) const {
  const bool starts_inside = first_position % kStripeBlocks != 0;
  if (first_position < 0 || (starts_inside && !stripe_key.has_value())) {
    return absl::InvalidArgumentError(absl::StrCat("first_position ", first_position,
                                                   ": a run that starts inside a stripe of ", kStripeBlocks,
                                                   " blocks needs the stripe's key"));
  }
  std::vector<Share> shares(sessions_.size());
  size_t home = 0;
  for (size_t i = 0; i < blocks.size(); ++i) {
    const uint32_t position = first_position + i;
    if (i == 0 || StripeStart(position) == position) {
      const Digest& key = i == 0 && starts_inside ? *stripe_key : blocks[i];
      home = sessions_.size() == 1 ? 0 : PlacementOrder(key, names_).front();
    }
    if (shares[home].blocks.empty()) shares[home].blocks.reserve(blocks.size() - i);
    shares[home].blocks.push_back(static_cast<int>(i));
  }
  std::vector<Share> live;
  for (size_t server = 0; server < shares.size(); ++server) {
    if (shares[server].blocks.empty()) continue;
    std::optional<Target> target = sessions_[server]->Find(ns.id);
    if (!target.has_value()) continue;  // misses
    shares[server].target = *std::move(target);
    live.push_back(std::move(shares[server]));
  }
  return live;
}

std::vector<BlockCoverage> ClientImpl::Coverage(const NamespaceHandle& ns, absl::Span<const Digest> blocks) {
  const auto question = std::make_shared<CoverageState>(*reactor_, blocks.size());
  const absl::StatusOr<std::vector<Share>> shares = Divide(ns, blocks, 0, std::nullopt);
  AskEach(*shares, blocks, question);
  return question->Take(absl::Now() + options_.request_timeout);
}

void ClientImpl::AskEach(const std::vector<Share>& shares, absl::Span<const Digest> blocks,
                         const std::shared_ptr<CoverageState>& question) {
  const Reactor::Turn turn(*reactor_);
  for (const Share& share : shares) {
    for (size_t first = 0; first < share.blocks.size(); first += wire::kMaxBlocksPerMessage) {
      const size_t last = std::min<size_t>(share.blocks.size(), first + wire::kMaxBlocksPerMessage);
      std::vector<int> asked(share.blocks.begin() + first, share.blocks.begin() + last);
      std::vector<Digest> hashes;
      hashes.reserve(asked.size());
      for (const int block : asked) hashes.push_back(blocks[block]);
      CoverageState::Ask(question, *share.target.link, share.target.namespace_id, std::move(asked), std::move(hashes));
    }
  }
}

absl::StatusOr<std::unique_ptr<Fetch>> ClientImpl::StartFetch(const NamespaceHandle& ns, FetchOptions options) {
  if (options.blocks.size() != options.slots.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat(options.blocks.size(), " blocks, but ", options.slots.size(), " slots"));
  }
  ASSIGN_OR_RETURN(std::vector<PlacedItem> placed, PlaceItems(ns.layout, options.items, options.slots));
  bool quarantined = false;
  ForEachRange(placed, options.slots, [&](const RegionMemory& memory, uint64_t first, uint64_t last) {
    quarantined = quarantined || memory.IsQuarantined(first, last);
  });
  if (quarantined) {
    return absl::FailedPreconditionError(
        "a destination may still be written to by a server that never confirmed the end of an earlier fetch");
  }
  ASSIGN_OR_RETURN(const std::vector<Share> shares,
                   Divide(ns, options.blocks, options.first_position, options.stripe_key));
  std::vector<FetchPart> parts;
  for (const Share& share : shares) parts.push_back({share.target.link, share.target.namespace_id, share.blocks});
  auto state = std::make_shared<FetchState>(*reactor_, ns.layout, std::move(placed), std::move(options.blocks),
                                            std::move(options.slots), std::move(parts), options_.verify_checksums);
  {
    const Reactor::Turn turn(*reactor_);
    state->Start(state, options.deadline, options.prefetch);
  }
  return std::make_unique<FetchImpl>(std::move(state), options_.request_timeout);
}

absl::StatusOr<std::unique_ptr<Store>> ClientImpl::StartStore(const NamespaceHandle& ns, StoreOptions options) {
  if (options.blocks.empty() || options.blocks.size() > kMaxBlocksPerRequest) {
    return absl::InvalidArgumentError(
        absl::StrCat(options.blocks.size(), " blocks; expected 1 to ", kMaxBlocksPerRequest));
  }
  ASSIGN_OR_RETURN(const std::vector<Share> shares,
                   Divide(ns, options.blocks, options.first_position, options.stripe_key));
  std::vector<StorePart> parts;
  for (const Share& share : shares) parts.push_back({share.target.link, share.target.namespace_id, share.blocks});
  auto state = std::make_shared<StoreState>(*reactor_, ns.layout, std::move(options), std::move(parts));
  state->Offer(state);
  std::vector<BlockWants> wants = state->TakeWants(absl::Now() + options_.request_timeout);
  return std::make_unique<StoreImpl>(std::move(state), std::move(wants));
}

}  // namespace droidspeak
