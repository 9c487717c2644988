// SPDX-License-Identifier: Apache-2.0
#include "client/src/coverage.h"

#include <utility>

namespace droidspeak {

class CoverageState::Part : public Pending {
 public:
  Part(std::shared_ptr<CoverageState> question, std::vector<int> blocks)
      : question_(std::move(question)), blocks_(std::move(blocks)) {}
  bool OnAnswer(const wire::Message& message) override {
    End(std::get_if<wire::CoverageAnswer>(&message));
    return true;
  }
  void OnGivenUp(const absl::Status&) override { End(nullptr); }
  void OnLost(const absl::Status&) override { End(nullptr); }

 private:
  void End(const wire::CoverageAnswer* answer) {
    if (!std::exchange(ended_, true)) question_->Answered(blocks_, answer);
  }
  const std::shared_ptr<CoverageState> question_;
  const std::vector<int> blocks_;
  bool ended_ = false;
};

void CoverageState::Ask(const std::shared_ptr<CoverageState>& self, Link& link, uint32_t namespace_id,
                        std::vector<int> blocks, std::vector<Digest> hashes) {
  {
    absl::MutexLock lock(&self->mutex_);
    ++self->awaited_;
  }
  wire::CoverageRequest request;
  request.request_id = link.NextRequestId();
  request.hold_ms = 0;
  request.groups.push_back({namespace_id, std::move(hashes)});
  link.Submit(request.request_id, std::make_shared<Part>(self, std::move(blocks)), std::move(request));
}

void CoverageState::Answered(const std::vector<int>& blocks, const wire::CoverageAnswer* answer) {
  absl::MutexLock lock(&mutex_);
  --awaited_;
  if (taken_ || answer == nullptr || answer->blocks.size() != blocks.size()) return;
  for (size_t i = 0; i < blocks.size(); ++i) coverage_[blocks[i]] = {answer->blocks[i].kv, answer->blocks[i].e};
}

std::vector<BlockCoverage> CoverageState::Take(absl::Time deadline) {
  absl::MutexLock lock(&mutex_);
  const auto answered = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return awaited_ == 0; };
  reactor_.Await(mutex_, absl::Condition(&answered), deadline);
  taken_ = true;
  return std::move(coverage_);
}

}  // namespace droidspeak
