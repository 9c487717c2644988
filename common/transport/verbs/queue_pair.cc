// SPDX-License-Identifier: Apache-2.0
#include "common/transport/verbs/queue_pair.h"

#include <errno.h>
#include <openssl/rand.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/files.h"
#include "common/base/status.h"

namespace droidspeak::verbs {
namespace {

// A peer that answers nothing is given up after (kRetries + 1) times 4.096 us * 2^kTimeout, 0.4 s; devices may take up
// to four times that. Seven retries would mean for ever to some of them.
constexpr uint8_t kTimeout = 14;
constexpr uint8_t kRetries = 5;
// Credits see to it that there is a receive for each frame: a peer without one has broken the protocol.
constexpr uint8_t kReceiverNotReadyRetries = 3;
constexpr uint8_t kReceiverNotReadyTimer = 12;  // 0.64 ms
constexpr uint8_t kMostReads = 16;
constexpr uint32_t kInlineBytes = 220;
constexpr uint8_t kHopLimit = 64;
// Room comes back, and transfers end, so many at a time at most.
constexpr size_t kSignalEvery = 16;

uint32_t RandomPacketNumber() {
  uint32_t number = 0;
  DROIDSPEAK_CHECK(RAND_bytes(reinterpret_cast<unsigned char*>(&number), sizeof(number)) == 1);
  return number & 0xffffff;
}

absl::Status Modify(ibv_qp* queue_pair, ibv_qp_attr& attributes, int mask, const char* state) {
  const int error = ibv_modify_qp(queue_pair, &attributes, mask);
  if (error == 0) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat("bringing a queue pair to ", state, ": ", strerror(error)));
}

}  // namespace

absl::StatusOr<QueuePair> QueuePair::Create(const Device& device, ibv_pd* domain, ibv_cq* completions,
                                            bool remote_access) {
  ibv_qp_init_attr wanted{};
  wanted.send_cq = wanted.recv_cq = completions;
  wanted.qp_type = IBV_QPT_RC;
  wanted.cap.max_send_wr = kMostSendRequests;
  wanted.cap.max_recv_wr = kReceives;
  wanted.cap.max_send_sge = wanted.cap.max_recv_sge = 1;
  wanted.cap.max_inline_data = kInlineBytes;
  ibv_qp* made = ibv_create_qp(domain, &wanted);
  if (made == nullptr && errno == EINVAL) {
    wanted.cap.max_inline_data = 0;  // the device does not go so far
    made = ibv_create_qp(domain, &wanted);
  }
  OwnedQueuePair owned;
  RETURN_IF_ERROR(Take(made, absl::StrCat("making a queue pair of ", device.name()), owned));
  ibv_qp_attr attributes{};
  attributes.qp_state = IBV_QPS_INIT;
  attributes.port_num = device.port();
  attributes.qp_access_flags = remote_access ? IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_WRITE : 0;
  RETURN_IF_ERROR(
      Modify(owned.get(), attributes, IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS, "INIT"));
  return QueuePair(std::move(owned), RandomPacketNumber(), wanted.cap.max_inline_data);
}

absl::Status QueuePair::Connect(const Device& device, const Introduction& peer, size_t index) {
  if (peer.link_layer != device.port_attributes().link_layer) {
    return absl::FailedPreconditionError(absl::StrCat("one end is on ", device.is_ethernet() ? "RoCE" : "InfiniBand",
                                                      " (", device.name(), "), the other is not"));
  }
  ibv_qp_attr attributes{};
  attributes.qp_state = IBV_QPS_RTR;
  attributes.path_mtu = std::min(device.port_attributes().active_mtu, static_cast<ibv_mtu>(peer.mtu));
  attributes.dest_qp_num = peer.queue_pair[index].number & 0xffffff;
  attributes.rq_psn = peer.queue_pair[index].first_packet & 0xffffff;
  attributes.max_dest_rd_atomic = static_cast<uint8_t>(std::min<int>(device.attributes().max_qp_rd_atom, kMostReads));
  attributes.min_rnr_timer = kReceiverNotReadyTimer;
  attributes.ah_attr.dlid = peer.lid;
  attributes.ah_attr.port_num = device.port();
  // Within an InfiniBand subnet a LID is enough.
  const bool other_subnet = std::memcmp(peer.gid, device.gid().raw, 8) != 0;
  if (device.is_ethernet() || other_subnet) {
    attributes.ah_attr.is_global = 1;
    std::memcpy(attributes.ah_attr.grh.dgid.raw, peer.gid, sizeof(peer.gid));
    attributes.ah_attr.grh.sgid_index = device.gid_index();
    attributes.ah_attr.grh.hop_limit = kHopLimit;
  }
  RETURN_IF_ERROR(Modify(queue_pair_.get(), attributes,
                         IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN | IBV_QP_RQ_PSN |
                             IBV_QP_MAX_DEST_RD_ATOMIC | IBV_QP_MIN_RNR_TIMER,
                         "RTR"));
  attributes.qp_state = IBV_QPS_RTS;
  attributes.sq_psn = first_packet_;
  attributes.timeout = kTimeout;
  attributes.retry_cnt = kRetries;
  attributes.rnr_retry = kReceiverNotReadyRetries;
  attributes.max_rd_atomic =
      static_cast<uint8_t>(std::min<int>({device.attributes().max_qp_init_rd_atom, kMostReads, peer.reads}));
  return Modify(
      queue_pair_.get(), attributes,
      IBV_QP_STATE | IBV_QP_SQ_PSN | IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT | IBV_QP_RNR_RETRY | IBV_QP_MAX_QP_RD_ATOMIC,
      "RTS");
}

absl::Status QueuePair::Receive(uint64_t id, std::byte* memory, uint32_t bytes, uint32_t key) {
  ibv_sge place{reinterpret_cast<uint64_t>(memory), bytes, key};
  ibv_recv_wr request{};
  request.wr_id = id;
  request.sg_list = &place;
  request.num_sge = 1;
  ibv_recv_wr* bad = nullptr;
  const int error = ibv_post_recv(queue_pair_.get(), &request, &bad);
  return error == 0 ? absl::OkStatus() : ErrnoStatus(error, "posting a receive");
}

void QueuePair::Add(const Posted& what, ibv_wr_opcode opcode, const ibv_sge& local, uint64_t remote,
                    uint32_t remote_key) {
  ibv_send_wr request{};
  request.opcode = opcode;
  // The processor copies what goes inline, which may be a device's memory unless it is a frame.
  if (what.transfer == Posted::kFrame && local.length <= max_inline_) request.send_flags = IBV_SEND_INLINE;
  request.wr.rdma.remote_addr = remote;
  request.wr.rdma.rkey = remote_key;
  list_.push_back(request);
  places_.push_back(local);
  posted_.push_back(what);
  if (what.transfer != Posted::kFrame) ++pieces_;
}

absl::Status QueuePair::Post(uint64_t id) {
  for (size_t i = 0; i < list_.size(); ++i) {
    list_[i].sg_list = &places_[i];
    list_[i].num_sge = 1;
    list_[i].next = i + 1 < list_.size() ? &list_[i + 1] : nullptr;
  }
  for (size_t first = 0; first < list_.size(); first += kSignalEvery) {
    const size_t last = std::min(first + kSignalEvery, list_.size()) - 1;
    list_[last].wr_id = id;
    list_[last].send_flags |= IBV_SEND_SIGNALED;
    signalled_.push_back(last + 1 - first);
  }
  ibv_send_wr* bad = nullptr;
  const int error = ibv_post_send(queue_pair_.get(), list_.data(), &bad);
  list_.clear();
  places_.clear();
  return error == 0 ? absl::OkStatus() : ErrnoStatus(error, "posting work requests");
}

std::vector<Posted> QueuePair::TakeCompleted() {
  if (signalled_.empty()) return {};
  const size_t count = signalled_.front();
  signalled_.pop_front();
  std::vector<Posted> ended(posted_.begin(), posted_.begin() + count);
  posted_.erase(posted_.begin(), posted_.begin() + count);
  for (const Posted& one : ended) pieces_ -= one.transfer != Posted::kFrame;
  return ended;
}

}  // namespace droidspeak::verbs
