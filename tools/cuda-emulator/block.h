// One block at a time: its threads as fibers, and which of them wait for what.
#pragma once

#include <vector>

#include "fiber.h"
#include "kernel.h"

namespace emulator {

const unsigned MOST_THREADS = 1024;

// A copy that copy_async asked for and no wait has made yet.
struct Copy {
    void* to;
    const void* from;
    unsigned group;
};

// A CUDA thread.
struct Fiber {
    Place place;
    Index index;
    std::vector<Copy> copies;
    unsigned groups = 0;  // closed so far
};

// Lanes by bit: ready to run, or waiting for the block, or for lanes of their warp; in none of these: ended.
struct Warp {
    unsigned ready, at_barrier, meeting;
    const char* what[32];
    unsigned mask[32];
    Together together[32];
    void* brought[32];
    unsigned live() const { return ready | at_barrier | meeting; }
};

struct Span {
    unsigned char* begin;
    size_t bytes;
};

// The fibers for one block at a time, reused from block to block.
struct Machine {
    Fiber fibers[MOST_THREADS];
    Warp warps[MOST_THREADS / 32];
    unsigned threads = 0, running = 0;
    void** arguments = nullptr;
    Place scheduler;  // the stack of the thread of the operating system
    // A kernel's dynamic shared memory ends where all ends, so that one step too far is a fault.
    unsigned char* shared_end;

    Machine();

    // Runs the block that `now` names. `shared_variables` are this thread's `__shared__` variables.
    void run_block(const Launch& launch, const Span& shared_variables);

    // For threads of the block under way.
    void give_way();
    bool try_to_meet(Warp& warp, unsigned lane);

private:
    static void thread_body();
    void prepare(unsigned thread);
    unsigned take_ready_lane(Warp& warp);
    void settle(unsigned warp_number);
    [[noreturn]] void report_stuck(unsigned warp_number);
    void locate(unsigned thread);
};

}  // namespace emulator
