// Work spread over the machine's cores.
#pragma once

#include <cstddef>
#include <functional>

namespace emulator {

// Calls `worker` on as many threads as there are cores, tasks, and allowed threads (EMULATED_CUDA_THREADS), the caller's
// among them, and returns when all have returned. The workers share the tasks out among themselves.
void on_cores(size_t tasks, const std::function<void()>& worker);

}  // namespace emulator
