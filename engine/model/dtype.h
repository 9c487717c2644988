// SPDX-License-Identifier: Apache-2.0
// The two number formats a run of the engine may use, for weights, activations, KV and E alike: those a layout names.
// Dtype, DtypeBytes (unsigned), DtypeName and ParseDtype are common/key/layout.h's.
#pragma once

#include "common/key/layout.h"
