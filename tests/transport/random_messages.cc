// SPDX-License-Identifier: Apache-2.0
#include "tests/transport/random_messages.h"

#include <algorithm>
#include <string>
#include <vector>

namespace droidspeak::wire {
namespace {

class Generator {
 public:
  Generator(std::mt19937_64& random, uint32_t max_count) : random_(random), max_count_(max_count) {}

  Message Make(size_t index) {
    switch (index) {
      case 0:
        return ClientHello{U64(), U32(), Bytes()};
      case 1:
        return ServerHello{Bytes(), Bytes()};
      case 2:
        return ClientProof{Bytes()};
      case 3:
        return HelloDone{};
      case 4:
        return Coverage();
      case 5:
        return CoverageAnswer{U64(), Many<BlockCoverage>([&] { return BlockCoverage{Bits(), Bits()}; })};
      case 6:
        return Fetch();
      case 7:
        return FetchAccepted{U64(), Below(kMaxBlocksPerMessage), {U64(), U64(), U64()}, {U32(), U32(), U32()}};
      case 8:
        return LayerDone{U64(), Below(kMaxItemsPerMessage), Below(10), Many<uint64_t>([&] { return U64(); })};
      case 9:
        return FetchDone{U64(), Below(17), Text()};
      case 10:
        return OfferRequest{U64(), U32(), Bits(), Bits(), Many<OfferBlock>([&] {
                              return OfferBlock{Hash(), Hash(), U32()};
                            })};
      case 11:
        return OfferAnswer{U64(), U32(), Many<BlockOffer>([&] { return BlockOffer{Bits(), Bits(), Bits(), Bits()}; })};
      case 12:
        return Fill();
      case 13:
        return Filled{U64(), U32(), Below(17), Text()};
      case 14:
        return SealRequest{U64(), U64(), Below(2) == 1};
      case 15:
        return Sealed{U64(), Below(17), Text()};
      case 16:
        return CancelRequest{U64()};
      case 17:
        return Cancelled{U64()};
      case 18:
        return ActionRequest{U64(), U32(), static_cast<BlockAction>(Below(3)), Digests()};
      default:
        return StatusAnswer{U64(), Below(17), U32(), U32(), Text()};
    }
  }

 private:
  uint64_t U64() { return random_(); }
  uint32_t U32() { return static_cast<uint32_t>(random_()); }
  uint32_t Below(uint32_t limit) { return static_cast<uint32_t>(random_() % limit); }
  Nonce Bytes() {
    Nonce bytes;
    for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random_());
    return bytes;
  }
  Digest Hash() { return Digest{Bytes()}; }
  LayerBits Bits() { return {U64(), U64(), U64(), U64()}; }
  std::string Text() { return std::string(Below(kMaxStatusTextBytes + 1), static_cast<char>(random_())); }

  template <typename T, typename F>
  std::vector<T> Exactly(size_t count, F make) {
    std::vector<T> values;
    values.reserve(count);
    for (size_t i = 0; i < count; ++i) values.push_back(make());
    return values;
  }
  template <typename T, typename F>
  std::vector<T> Many(F make) {
    return Exactly<T>(Below(max_count_ + 1), make);
  }
  std::vector<Digest> Digests() {
    return Many<Digest>([&] { return Hash(); });
  }

  std::vector<TransferItem> Items(uint32_t most) {
    return Exactly<TransferItem>(Below(std::min(most, kMaxItemsPerMessage) + 1), [&] {
      TransferItem item{};
      item.kind = static_cast<Kind>(Below(2));
      item.layer = static_cast<uint16_t>(Below(kMaxLayers));
      item.first = {U32(), U64()};
      if (item.kind == Kind::kKv) item.second = {U32(), U64()};
      item.slot_stride = U64();
      return item;
    });
  }

  CoverageRequest Coverage() {
    CoverageRequest m{U64(), Below(kMaxHoldMs + 1), {}};
    const uint32_t groups = Below(kMaxCoverageGroups + 1);
    const uint32_t most = groups == 0 ? 0 : max_count_ / groups;
    m.groups = Exactly<CoverageGroup>(groups, [&] {
      return CoverageGroup{U32(), Exactly<Digest>(Below(most + 1), [&] { return Hash(); })};
    });
    return m;
  }

  FetchRequest Fetch() {
    FetchRequest m{U64(), U32(), U32(), Below(2), Below(2) == 1, Items(max_count_), Digests(), {}};
    m.slots = Exactly<uint32_t>(m.blocks.size(), [&] { return U32(); });
    return m;
  }

  FillRequest Fill() {
    FillRequest m{U64(), U64(), {}, {}, {}, {}};
    m.blocks = Many<uint32_t>([&] { return Below(kMaxBlocksPerMessage); });
    const uint32_t blocks = std::max<uint32_t>(1, static_cast<uint32_t>(m.blocks.size()));
    m.items = Items(std::min(max_count_, kMaxExtentsPerFill / blocks));
    m.slots = Exactly<uint32_t>(m.blocks.size(), [&] { return U32(); });
    m.checksums = Exactly<uint64_t>(m.items.size() * m.blocks.size(), [&] { return U64(); });
    return m;
  }

  std::mt19937_64& random_;
  const uint32_t max_count_;
};

}  // namespace

Message RandomMessage(std::mt19937_64& random, size_t index, uint32_t max_count) {
  return Generator(random, max_count).Make(index);
}

}  // namespace droidspeak::wire
