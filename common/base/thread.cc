// SPDX-License-Identifier: Apache-2.0
#include "common/base/thread.h"

#include <pthread.h>

#include <utility>

#include "common/base/check.h"

namespace droidspeak {

Thread::Thread(const std::string& name, std::function<void(std::stop_token)> body)
    : thread_([name = name.substr(0, 15), body = std::move(body)](std::stop_token stop) {
        pthread_setname_np(pthread_self(), name.c_str());
        body(std::move(stop));
      }) {}

void Thread::Stop() {
  if (!thread_.joinable()) return;
  DROIDSPEAK_CHECK(thread_.get_id() != std::this_thread::get_id());
  thread_.request_stop();
  thread_.join();
}

}  // namespace droidspeak
