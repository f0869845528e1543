// Runs the blocks of a launch. Each CUDA thread is a fiber with a stack of its own; a fiber runs until it has to wait for others,
// then the next one runs. When none can go on and some still wait, they wait for ever, and that is reported.
//
// EMULATED_CUDA_ORDER=down runs the threads of a block from last to first: a forgotten barrier that one order
// hides shows in the other.
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <link.h>
#include <memory>
#include <mutex>
#include <string>

#include "cores.h"
#include "kernel.h"
#include "poison.h"

#ifdef __SANITIZE_ADDRESS__
#include <pthread.h>
#include <sanitizer/asan_interface.h>
#endif

// Saves the caller's registers on its stack and where that is in *from, then goes on where `to` was saved.
extern "C" void emulator_switch(void** from, void* to);
asm(R"(
.text
.hidden emulator_switch
.globl emulator_switch
.type emulator_switch, @function
emulator_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
.size emulator_switch, . - emulator_switch
)");

namespace emulator {

__thread Now now;

namespace {

const unsigned MOST_THREADS = 1024;
const size_t PAGE = 4096, STACK = 256 << 10;
const size_t MOST_SHARED = 232 << 10;

unsigned char* map(size_t bytes) {
    void* at = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED) {
        perror("cuda-emulator: no room for stacks");
        abort();
    }
    return static_cast<unsigned char*>(at);
}

struct Span {
    unsigned char* begin;
    size_t bytes;
};

// This thread's copy of every `__shared__` variable: the thread-local storage of the module that this code is in, from dl_iterate_phdr.
Span static_shared() {
    Span found = {nullptr, 0};
    auto look = [](dl_phdr_info* module, size_t, void* result) {
        unsigned char* begin = static_cast<unsigned char*>(module->dlpi_tls_data);
        unsigned char* mine = reinterpret_cast<unsigned char*>(&now);
        for (int i = 0; i < module->dlpi_phnum; i++) {
            size_t bytes = module->dlpi_phdr[i].p_memsz;
            if (module->dlpi_phdr[i].p_type == PT_TLS && begin && begin <= mine && mine < begin + bytes)
                *static_cast<Span*>(result) = {begin, bytes};
        }
        return 0;
    };
    dl_iterate_phdr(look, &found);
    return found;
}

struct Copy {
    void* to;
    const void* from;
    unsigned group;
};

// A stack that is left and taken up again. AddressSanitizer wants to hear of each change.
struct Place {
    void* saved = nullptr;
    unsigned char* bottom = nullptr;
    size_t bytes = 0;
    void* sanitizer = nullptr;
};

void go(Place& from, Place& to) {
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_start_switch_fiber(&from.sanitizer, to.bottom, to.bytes);
#endif
    emulator_switch(&from.saved, to.saved);
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(from.sanitizer, nullptr, nullptr);
#endif
}

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

// Where the thread of the operating system has its stack, which only AddressSanitizer asks for.
Place own_stack() {
    Place stack;
#ifdef __SANITIZE_ADDRESS__
    pthread_attr_t attributes;
    void* bottom;
    pthread_getattr_np(pthread_self(), &attributes);
    pthread_attr_getstack(&attributes, &bottom, &stack.bytes);
    pthread_attr_destroy(&attributes);
    stack.bottom = static_cast<unsigned char*>(bottom);
#endif
    return stack;
}

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

// The fibers for one block at a time, reused from block to block.
struct Machine {
    Fiber fibers[MOST_THREADS];
    Warp warps[MOST_THREADS / 32];
    unsigned threads = 0, running = 0;
    void** arguments = nullptr;
    Place scheduler;  // the stack of the thread of the operating system
    // Ends at a page that may not be touched, so that one step too far is a fault.
    unsigned char* shared_end = nullptr;

    Machine() {
        unsigned char* shared = map(MOST_SHARED + PAGE);
        shared_end = shared + MOST_SHARED;
        mprotect(shared_end, PAGE, PROT_NONE);
    }

    void run_block(const Launch& launch, const Span& shared_variables);
    void prepare(unsigned thread);
    unsigned take_ready_lane(Warp& warp);
    void give_way();
    [[noreturn]] static void fiber_body();
    void settle(unsigned warp_number);
    bool try_to_meet(Warp& warp, unsigned lane);
    [[noreturn]] void report_stuck(unsigned warp_number);
    void locate(unsigned thread);
};

void Machine::locate(unsigned thread) {
    running = thread;
    now.thread = fibers[thread].index;
}

void Machine::prepare(unsigned thread) {
    Fiber& fiber = fibers[thread];
    if (!fiber.place.bottom) {
        fiber.place.bottom = map(STACK);
        fiber.place.bytes = STACK;
        mprotect(fiber.place.bottom, PAGE, PROT_NONE);
    }
#ifdef __SANITIZE_ADDRESS__
    __asan_unpoison_memory_region(fiber.place.bottom, STACK);
#endif
    // Tops at different distances from the end, or all stacks would be after the same few lines of the processor's cache.
    unsigned char* end = fiber.place.bottom + STACK - thread % 61 * 192;
    // What emulator_switch takes off: six registers and the address to go to. A function begins 8 short of 16-byte alignment.
    void** top = reinterpret_cast<void**>(end) - 8;
    memset(top, 0, 8 * sizeof(void*));
    top[6] = reinterpret_cast<void*>(fiber_body);
    fiber.place.saved = top;
    const Index size = now.block_size;
    fiber.index = {thread % size.x, thread / size.x % size.y, thread / size.x / size.y};
    fiber.copies.clear();
    fiber.groups = 0;
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

void Machine::fiber_body() {
    Machine& machine = *now.machine;
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(nullptr, nullptr, nullptr);
#endif
    now.kernel->call(machine.arguments);
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_start_switch_fiber(nullptr, machine.scheduler.bottom, machine.scheduler.bytes);
#endif
    void* ended;
    emulator_switch(&ended, machine.scheduler.saved);
    __builtin_unreachable();
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
            if (warp.meeting >> other & 1 && !strcmp(warp.what[other], warp.what[lane]) && warp.mask[other] == warp.mask[lane])
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

namespace {

size_t describe_place(char* text, size_t room) {
    return snprintf(text, room, "cuda-emulator: kernel %s, block (%u, %u, %u), thread (%u, %u, %u)", now.kernel->name, now.block.x,
                    now.block.y, now.block.z, now.thread.x, now.thread.y, now.thread.z);
}

struct sigaction former_fault;

// Says which thread it was, and leaves the rest to whoever handled faults before.
void on_fault(int signal, siginfo_t* info, void*) {
    if (now.kernel) {
        char text[512];
        size_t length = describe_place(text, sizeof text);
        length += snprintf(text + length, sizeof text - length, ": no memory at %p, or its stack is full\n", info->si_addr);
        if (write(2, text, length) < 0) _exit(1);
    }
    sigaction(signal, &former_fault, nullptr);
}

void watch_faults() {
    struct sigaction action = {};
    action.sa_sigaction = on_fault;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigaction(SIGSEGV, &action, &former_fault);
}

std::mutex machines_mutex;
std::vector<std::unique_ptr<Machine>>& idle_machines() {
    static auto* machines = new std::vector<std::unique_ptr<Machine>>;
    return *machines;
}

std::unique_ptr<Machine> take_machine() {
    std::lock_guard<std::mutex> lock(machines_mutex);
    if (idle_machines().empty()) return std::make_unique<Machine>();
    std::unique_ptr<Machine> machine = std::move(idle_machines().back());
    idle_machines().pop_back();
    return machine;
}

void put_back(std::unique_ptr<Machine> machine) {
    std::lock_guard<std::mutex> lock(machines_mutex);
    idle_machines().push_back(std::move(machine));
}

}  // namespace

void report(const char* format, ...) {
    char text[4096];
    size_t length = describe_place(text, sizeof text);
    length += snprintf(text + length, sizeof text - length, ": ");
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text + length, sizeof text - length, format, arguments);
    va_end(arguments);
    fprintf(stderr, "%s\n", text);
    abort();
}

void run(const Launch& launch) {
    static std::once_flag watching;
    std::call_once(watching, watch_faults);
    const size_t blocks = static_cast<size_t>(launch.grid.x) * launch.grid.y * launch.grid.z;
    std::atomic<size_t> next(0);
    on_cores(blocks, [&] {
        std::unique_ptr<Machine> machine = take_machine();
        machine->scheduler = own_stack();
        now.machine = machine.get();
        now.kernel = launch.kernel;
        const Span variables = static_shared();
        now.block_size = launch.block;
        now.grid_size = launch.grid;
        now.shared = machine->shared_end - (launch.shared_bytes + 15) / 16 * 16;
        for (size_t i; (i = next++) < blocks;) {
            now.block = {static_cast<unsigned>(i % launch.grid.x), static_cast<unsigned>(i / launch.grid.x % launch.grid.y),
                         static_cast<unsigned>(i / launch.grid.x / launch.grid.y)};
            machine->run_block(launch, variables);
        }
        now.kernel = nullptr;
        put_back(std::move(machine));
    });
}

// ---- The kernels there are

namespace {

std::vector<Kernel>& kernels() {
    static auto* all = new std::vector<Kernel>;
    return *all;
}

}  // namespace

Registration::Registration(Kernel kernel) {
    if (find_kernel(kernel.name)) {
        fprintf(stderr, "cuda-emulator: two kernels are called %s\n", kernel.name);
        abort();
    }
    kernels().push_back(std::move(kernel));
}

const Kernel* find_kernel(const char* name) {
    for (const Kernel& kernel : kernels())
        if (strcmp(kernel.name, name) == 0) return &kernel;
    return nullptr;
}

}  // namespace emulator
