// SPDX-License-Identifier: Apache-2.0
// How cached tensors are named: model digests, layouts, namespaces and block hashes, for users of the client.
#pragma once

#include "common/key/block_hash.h"    // IWYU pragma: export
#include "common/key/digest.h"        // IWYU pragma: export
#include "common/key/layout.h"        // IWYU pragma: export
#include "common/key/model_digest.h"  // IWYU pragma: export
#include "common/key/placement.h"     // IWYU pragma: export
