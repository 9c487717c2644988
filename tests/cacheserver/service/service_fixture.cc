// SPDX-License-Identifier: Apache-2.0
#include "tests/cacheserver/service/service_fixture.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "common/base/host_port.h"
#include "common/key/block_hash.h"
#include "common/key/checksum.h"

namespace droidspeak {

std::vector<std::byte> ExtentContents(const Digest& block, Extent extent, uint64_t bytes) {
  std::vector<std::byte> contents(bytes);
  uint64_t state = 0;
  std::memcpy(&state, block.bytes.data(), sizeof state);
  state += extent.layer * 2 + static_cast<uint64_t>(extent.kind);
  for (size_t i = 0; i + 8 <= contents.size(); i += 8) {
    state = state * 6364136223846793005ULL + 1442695040888963407ULL;
    std::memcpy(&contents[i], &state, 8);
  }
  return contents;
}

void ServiceTest::StartServer() {
  options_.listen = options_.data = options_.admin = HostPort{"127.0.0.1", 0};
  options_.transport = GetParam() == "local" ? TransportMode::kLocal
                       : GetParam() == "tcp" ? TransportMode::kTcp
                                             : TransportMode::kUcx;
  options_.local_socket = folder_.path() + "/socket";
  if (options_.host_pool_bytes == ServerOptions{}.host_pool_bytes) options_.host_pool_bytes = 64 << 20;
  absl::StatusOr<std::unique_ptr<CacheServer>> server = CacheServer::Start(options_);
  ASSERT_TRUE(server.ok()) << server.status();
  server_ = *std::move(server);
}

void ServiceTest::ConnectClient(uint64_t region_bytes, const std::string& layout) {
  const std::string& listen = server_->addresses().listen;
  absl::StatusOr<RawSession> session = OpenRawSession(listen, GetParam());
  ASSERT_TRUE(session.ok()) << session.status();
  session_ = *std::move(session);
  ASSERT_EQ(session_.transport, GetParam());
  absl::StatusOr<RawNamespace> space = OpenRawNamespace(listen, session_, layout);
  ASSERT_TRUE(space.ok()) << space.status();
  space_ = *std::move(space);
  client_ = NewConnection(region_bytes);
}

std::unique_ptr<RawConnection> ServiceTest::NewConnection(uint64_t region_bytes) {
  auto connection = std::make_unique<RawConnection>(session_, region_bytes);
  EXPECT_TRUE(connection->Hello());
  return connection;
}

std::vector<Digest> ServiceTest::Chain(size_t blocks, uint32_t seed) const {
  std::vector<uint32_t> tokens(blocks * space_.layout.block_tokens, seed);
  return BlockHashes(space_.bytes, tokens, space_.layout.block_tokens);
}

std::vector<std::byte> ServiceTest::Contents(const Digest& block, Extent extent) const {
  return ExtentContents(block, extent, ExtentBytes(extent));
}

uint64_t ServiceTest::ChecksumOf(const Digest& block, Extent extent) const {
  return ExtentChecksum({block, extent.kind, extent.layer}, Contents(block, extent));
}

wire::TransferItem ServiceTest::Item(Extent extent, uint64_t base) const {
  wire::TransferItem item;
  item.kind = extent.kind;
  item.layer = extent.layer;
  item.first = {RawConnection::kRegion, base};
  item.second = {0, 0};
  if (extent.kind == Kind::kKv) item.second = {RawConnection::kRegion, base + space_.layout.k_bytes()};
  item.slot_stride = ExtentBytes(extent);
  return item;
}

std::vector<std::byte> ServiceTest::Landed(RawConnection& connection, const wire::TransferItem& item,
                                           uint32_t slot) const {
  const std::byte* start = connection.memory() + item.first.base + slot * item.slot_stride;
  return {start, start + item.slot_stride};
}

wire::OfferAnswer ServiceTest::Offer(RawConnection& connection, uint64_t request_id, const std::vector<Digest>& blocks,
                                     const std::vector<Extent>& extents) {
  wire::OfferRequest request;
  request.request_id = request_id;
  request.namespace_id = space_.id;
  request.kv = {};
  request.e = {};
  for (const Extent& extent : extents) {
    (extent.kind == Kind::kKv ? request.kv : request.e)[extent.layer / 64] |= uint64_t{1} << (extent.layer % 64);
  }
  for (size_t i = 0; i < blocks.size(); ++i) {
    request.blocks.push_back({blocks[i], i == 0 ? space_.bytes : blocks[i - 1], static_cast<uint32_t>(i)});
  }
  connection.Send(request);
  return connection.Expect<wire::OfferAnswer>();
}

wire::FillRequest ServiceTest::MakeFill(RawConnection& connection, uint64_t request_id, uint64_t offer_id,
                                        const std::vector<Digest>& blocks, const std::vector<Extent>& extents) {
  wire::FillRequest fill;
  fill.request_id = request_id;
  fill.offer_id = offer_id;
  uint64_t base = 0;
  for (const Extent& extent : extents) {
    fill.items.push_back(Item(extent, base));
    for (const Digest& block : blocks) {
      const std::vector<std::byte> contents = Contents(block, extent);
      std::copy(contents.begin(), contents.end(), connection.memory() + base);
      base += contents.size();
      fill.checksums.push_back(ChecksumOf(block, extent));
    }
  }
  EXPECT_LE(base, connection.memory_bytes());
  for (uint32_t i = 0; i < blocks.size(); ++i) {
    fill.blocks.push_back(i);
    fill.slots.push_back(i);
  }
  return fill;
}

void ServiceTest::Store(RawConnection& connection, const std::vector<Digest>& blocks,
                        const std::vector<Extent>& extents, bool durable) {
  const uint64_t offer_id = next_request_++;
  Offer(connection, offer_id, blocks, extents);
  connection.Send(MakeFill(connection, next_request_++, offer_id, blocks, extents));
  const auto filled = connection.Expect<wire::Filled>();
  ASSERT_EQ(filled.code, 0u) << filled.text;
  ASSERT_EQ(filled.extents, blocks.size() * extents.size());
  connection.Send(wire::SealRequest{next_request_++, offer_id, durable});
  const auto sealed = connection.Expect<wire::Sealed>();
  ASSERT_EQ(sealed.code, 0u) << sealed.text;
}

wire::FetchRequest ServiceTest::MakeFetch(uint64_t request_id, const std::vector<Digest>& blocks,
                                          const std::vector<Extent>& extents) const {
  wire::FetchRequest request;
  request.request_id = request_id;
  request.namespace_id = space_.id;
  request.remaining_ms = 60'000;
  request.priority = 0;
  request.checksums = true;
  uint64_t base = 0;
  for (const Extent& extent : extents) {
    request.items.push_back(Item(extent, base));
    base += blocks.size() * ExtentBytes(extent);
  }
  request.blocks = blocks;
  for (uint32_t i = 0; i < blocks.size(); ++i) request.slots.push_back(i);
  return request;
}

std::vector<std::pair<uint32_t, uint32_t>> ServiceTest::FetchAndCheck(RawConnection& connection,
                                                                      const wire::FetchRequest& request) {
  std::vector<std::pair<uint32_t, uint32_t>> order;
  connection.Send(request);
  const auto accepted = connection.Expect<wire::FetchAccepted>();
  EXPECT_EQ(accepted.blocks, request.blocks.size());
  while (true) {
    const std::optional<wire::Message> message = connection.Next();
    if (!message.has_value()) {
      ADD_FAILURE() << "the fetch did not end";
      return order;
    }
    if (const auto* done = std::get_if<wire::FetchDone>(&*message)) {
      EXPECT_EQ(done->code, 0u) << done->text;
      return order;
    }
    const auto* run = std::get_if<wire::LayerDone>(&*message);
    if (run == nullptr) {
      ADD_FAILURE() << "message of type " << message->index();
      return order;
    }
    const wire::TransferItem& item = request.items.at(run->item);
    for (uint32_t i = 0; i < run->checksums.size(); ++i) {
      const uint32_t index = run->first_block + i;
      const Digest& block = request.blocks.at(index);
      EXPECT_EQ(run->checksums[i], ChecksumOf(block, {item.kind, item.layer}));
      // The bytes are there when the message is.
      EXPECT_EQ(Landed(connection, item, request.slots[index]), Contents(block, {item.kind, item.layer}));
      order.emplace_back(run->item, index);
    }
  }
}

double ServiceTest::Metric(const std::string& name) const {
  for (absl::string_view line : absl::StrSplit(HttpGet(server_->addresses().admin, "/metrics"), '\n')) {
    double value = 0;
    if (absl::ConsumePrefix(&line, name + " ") && absl::SimpleAtod(line, &value)) return value;
  }
  return 0;
}

bool ServiceTest::WaitForMetric(const std::string& line) {
  const absl::Time deadline = absl::Now() + kLimit;
  while (absl::Now() < deadline) {
    const std::string text = HttpGet(server_->addresses().admin, "/metrics");
    for (const auto& found : absl::StrSplit(text, '\n')) {
      if (std::string(found) == line) return true;
    }
    if (client_ != nullptr) client_->DriveUntil([] { return false; }, absl::Milliseconds(20));
  }
  return false;
}

std::string TransportName(const testing::TestParamInfo<std::string>& info) {
  return info.param;
}

}  // namespace droidspeak
