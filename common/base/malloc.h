// SPDX-License-Identifier: Apache-2.0
// malloc, set up for a program that takes and gives back large buffers all the time. What is given back to the kernel
// comes back page by page, and page faults may cost more than what is done with the buffer. For the whole process: to
// be called from main(), before there are threads.
#pragma once

namespace droidspeak {

// Buffers of an extent's size are kept, up to 32 MiB: for servers, whose RocksDB has one for each read and write.
void KeepFreedBuffers();

// Buffers of any size are kept, as many as were ever in use: for programs that run a model, whose every step takes and
// gives back its activations.
void KeepAllFreedBuffers();

}  // namespace droidspeak
