// SPDX-License-Identifier: Apache-2.0
// malloc, set up for a program that takes and gives back large buffers all the time.
#pragma once

namespace droidspeak {

// RocksDB takes and gives back buffers of an extent's size with each read and write: without this, malloc would give
// them back to the kernel each time, and page faults would cost more than the copies. For the whole process: to be
// called from main(), before there are threads.
void KeepFreedBuffers();

}  // namespace droidspeak
