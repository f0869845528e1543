// The kernels there are, and launches: the blocks of a grid are shared out over the cores.
#include <link.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>

#include "block.h"
#include "cores.h"

namespace emulator {

namespace {

// This thread's copy of every `__shared__` variable: the thread-local storage of the module that this code is in.
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

size_t describe_place(char* text, size_t room) {
    return snprintf(text, room, "cuda-emulator: kernel %s, block (%u, %u, %u), thread (%u, %u, %u)", now.kernel->name,
                    now.block.x, now.block.y, now.block.z, now.thread.x, now.thread.y, now.thread.z);
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
