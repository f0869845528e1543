// Runs the threads of a block. Each is a fiber with a stack of its own; it runs until it has to wait for others, then the
// next one runs. When none can go on and some still wait, they wait for ever, and that is reported.
//
// EMULATED_CUDA_ORDER=down runs the threads from last to first: a forgotten barrier that one order hides shows in the other.
#include "block.h"

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "poison.h"

namespace emulator {

__thread Now now;

namespace {

const size_t MOST_SHARED = 232 << 10;

std::string lanes_of(unsigned mask) {
    std::string text;
    for (unsigned lane = 0; lane < 32; lane++)
        if (mask >> lane & 1) text += (text.empty() ? "" : " ") + std::to_string(lane);
    return text;
}

bool descending() {
    static const char* order = getenv("EMULATED_CUDA_ORDER");
    static bool down = order && strcmp(order, "down") == 0;
    return down;
}

}  // namespace

Machine::Machine() : shared_end(map_between_walls(MOST_SHARED) + MOST_SHARED) {}

void Machine::locate(unsigned thread) {
    running = thread;
    now.thread = fibers[thread].index;
}

void Machine::prepare(unsigned thread) {
    Fiber& fiber = fibers[thread];
    const Index size = now.block_size;
    fiber.index = {thread % size.x, thread / size.x % size.y, thread / size.x / size.y};
    fiber.copies.clear();
    fiber.groups = 0;
    begin(fiber.place, thread, thread_body);
}

unsigned Machine::take_ready_lane(Warp& warp) {
    unsigned lane = descending() ? 31 - __builtin_clz(warp.ready) : __builtin_ctz(warp.ready);
    warp.ready &= ~(1u << lane);
    return lane;
}

// The next lane of the warp runs; without one, the scheduler.
void Machine::give_way() {
    Place& mine = fibers[running].place;
    const unsigned number = running / 32;
    if (warps[number].ready) {
        locate(32 * number + take_ready_lane(warps[number]));
        if (&fibers[running].place != &mine) go(mine, fibers[running].place);
    } else {
        go(mine, scheduler);
    }
}

void Machine::thread_body() {
    arrived();
    now.kernel->call(now.machine->arguments);
    go_for_good(now.machine->scheduler);
}

void Machine::run_block(const Launch& launch, const Span& variables) {
    unsigned char* mine = reinterpret_cast<unsigned char*>(&now);
    poison(variables.begin, mine - variables.begin);
    poison(mine + sizeof now, variables.begin + variables.bytes - (mine + sizeof now));
    poison(now.shared, shared_end - now.shared);

    threads = launch.block.x * launch.block.y * launch.block.z;
    arguments = launch.arguments;
    const unsigned warp_count = (threads + 31) / 32;
    for (unsigned thread = 0; thread < threads; thread++) prepare(thread);
    for (unsigned i = 0; i < warp_count; i++) {
        unsigned lanes = threads - 32 * i;
        warps[i].ready = lanes >= 32 ? 0xffffffffu : (1u << lanes) - 1;
        warps[i].at_barrier = warps[i].meeting = 0;
    }

    for (;;) {
        bool waiting = false;
        for (unsigned i = 0; i < warp_count; i++) {
            unsigned number = descending() ? warp_count - 1 - i : i;
            Warp& warp = warps[number];
            while (warp.ready) {
                locate(32 * number + take_ready_lane(warp));
                go(scheduler, fibers[running].place);
                if (!warp.ready && warp.meeting) settle(number);
            }
            waiting |= warp.at_barrier != 0;
        }
        if (!waiting) return;
        // Every warp has run until all its lanes ended or are at the barrier, or has been reported as stuck.
        for (unsigned i = 0; i < warp_count; i++) {
            warps[i].ready = warps[i].at_barrier;
            warps[i].at_barrier = 0;
        }
    }
}

// Lanes of the warp wait for each other and no other lane can run: those who only wait for lanes that have ended go on.
void Machine::settle(unsigned number) {
    Warp& warp = warps[number];
    for (unsigned lane = 0; lane < 32; lane++)
        if (warp.meeting >> lane & 1 && try_to_meet(warp, lane)) return;
    report_stuck(number);
}

bool Machine::try_to_meet(Warp& warp, unsigned lane) {
    const unsigned expected = warp.mask[lane] & warp.live();
    if ((warp.meeting & expected) != expected) return false;
    for (unsigned other = 0; other < 32; other++) {
        if (!(expected >> other & 1)) continue;
        if (warp.together[other] != warp.together[lane] || warp.mask[other] != warp.mask[lane]) return false;
    }
    warp.together[lane](warp.brought, expected);
    warp.meeting &= ~expected;
    warp.ready |= expected;
    return true;
}

void Machine::report_stuck(unsigned number) {
    Warp& warp = warps[number];
    std::string states;
    for (unsigned lane = 0; lane < 32; lane++) {
        if (!(warp.meeting >> lane & 1)) continue;
        unsigned alike = 0;
        for (unsigned other = lane; other < 32; other++)
            if (warp.meeting >> other & 1 && !strcmp(warp.what[other], warp.what[lane]) &&
                warp.mask[other] == warp.mask[lane])
                alike |= 1u << other;
        if (states.empty()) locate(32 * number + lane);
        char mask[16];
        snprintf(mask, sizeof mask, "%08x", warp.mask[lane]);
        states += "\n  waiting at " + std::string(warp.what[lane]) + " for mask " + mask + ": lanes " + lanes_of(alike);
        warp.meeting &= ~alike;
    }
    if (warp.at_barrier) states += "\n  waiting at __syncthreads: lanes " + lanes_of(warp.at_barrier);
    report("deadlock in warp %u%s", number, states.c_str());
}

unsigned lane() { return now.machine->running % 32; }

void wait_for_block() {
    Machine& machine = *now.machine;
    machine.warps[machine.running / 32].at_barrier |= 1u << lane();
    machine.give_way();
}

void meet(const char* what, unsigned mask, Together together, void* brought) {
    Machine& machine = *now.machine;
    Warp& warp = machine.warps[machine.running / 32];
    const unsigned me = lane();
    if (!(mask >> me & 1)) report("%s with mask %08x, in which its own lane %u is not", what, mask, me);
    warp.what[me] = what;
    warp.mask[me] = mask;
    warp.together[me] = together;
    warp.brought[me] = brought;
    warp.meeting |= 1u << me;
    machine.try_to_meet(warp, me);
    // Released or not, the others come first, so that all lanes run alike.
    machine.give_way();
}

void copy_later(void* shared, const void* global) {
    Machine& machine = *now.machine;
    if (reinterpret_cast<uintptr_t>(shared) % 16 || reinterpret_cast<uintptr_t>(global) % 16)
        report("copy_async from %p to %p: both must be aligned to 16 bytes", global, shared);
    Fiber& fiber = machine.fibers[machine.running];
    fiber.copies.push_back({shared, global, fiber.groups});
    // From now until the wait, what lies there is undefined.
    poison(shared, 16);
}

void close_copies() {
    Machine& machine = *now.machine;
    machine.fibers[machine.running].groups++;
}

void make_copies(unsigned groups_left) {
    Machine& machine = *now.machine;
    Fiber& fiber = machine.fibers[machine.running];
    size_t made = 0;
    for (; made < fiber.copies.size(); made++) {
        const Copy& copy = fiber.copies[made];
        if (copy.group + groups_left >= fiber.groups) break;
        memcpy(copy.to, copy.from, 16);
    }
    fiber.copies.erase(fiber.copies.begin(), fiber.copies.begin() + made);
}

}  // namespace emulator
