// SPDX-License-Identifier: Apache-2.0
// TLS for the control plane: both ends show a certificate, and files that have changed are taken up while running.
#pragma once

#include <memory>

#include "common/base/tls_files.h"
#include "grpcpp/security/credentials.h"
#include "grpcpp/security/server_credentials.h"

namespace droidspeak {

// A server's: a connection without a certificate that one of the authorities signed and that is valid now ends in the
// handshake, before anything of it is parsed. (A verifier of our own could tell whom it refused, and why; gRPC 1.51
// never calls it on servers.) The files have passed CheckTlsFiles().
std::shared_ptr<grpc::ServerCredentials> ServerTlsCredentials(const TlsFiles& files);

// A client's: the server's certificate must be signed by one of the authorities and name the host connected to. Without
// files, those of a connection in the clear.
std::shared_ptr<grpc::ChannelCredentials> ClientCredentials(const TlsFiles& files);

}  // namespace droidspeak
