// SPDX-License-Identifier: Apache-2.0
// What gRPC has to say goes where the program's own messages go.
#pragma once

#include <functional>

namespace droidspeak {

// From now on, for the whole process. `on_refused` is called, on any thread, for each connection that fails in the TLS
// handshake: gRPC (1.51) tells that nowhere else. One message a second is written, whatever strangers do.
void TakeOverGrpcLog(std::function<void()> on_refused);

// Ends the calls of `on_refused`, and waits for those under way.
void EndGrpcRefusals();

}  // namespace droidspeak
