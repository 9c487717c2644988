// SPDX-License-Identifier: Apache-2.0
#include "cacheserver/store/handles.h"

#include "cacheserver/store/core.h"
#include "common/base/check.h"

namespace droidspeak {

References& References::operator=(References&& other) noexcept {
  if (this != &other) {
    Release();
    core_ = other.core_;
    blocks_ = std::exchange(other.blocks_, {});
  }
  return *this;
}

void References::Release() {
  if (!blocks_.empty()) core_->Release(blocks_);
}

HostExtent& HostExtent::operator=(HostExtent&& other) noexcept {
  if (this != &other) {
    Release();
    data_ = std::exchange(other.data_, nullptr);
    bytes_ = other.bytes_;
    checksum_ = other.checksum_;
    from_ = other.from_;
    staging_ = std::exchange(other.staging_, nullptr);
  }
  return *this;
}

void HostExtent::Release() {
  if (staging_ != nullptr) std::exchange(staging_, nullptr)->Give(data_);
  data_ = nullptr;
}

FillSlot& FillSlot::operator=(FillSlot&& other) noexcept {
  if (this != &other) {
    Abort();
    core_ = other.core_;
    offer_ = std::move(other.offer_);
    block_ = other.block_;
    extent_ = other.extent_;
    data_ = std::exchange(other.data_, nullptr);
    bytes_ = other.bytes_;
  }
  return *this;
}

absl::StatusOr<bool> FillSlot::Commit(uint64_t checksum) {
  DROIDSPEAK_CHECK(data_ != nullptr);
  return core_->Commit(*this, checksum);
}

void FillSlot::Abort() {
  if (data_ != nullptr) core_->Abort(*this);
}

}  // namespace droidspeak
