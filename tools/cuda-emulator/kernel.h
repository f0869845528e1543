// A kernel as the emulator knows it: its name and how to call it from a list of pointers to arguments; and the services that
// block.cpp gives to a kernel while it runs.
#pragma once

#include <cstddef>
#include <type_traits>
#include <utility>
#include <vector>

namespace emulator {

struct Index {
    unsigned x, y, z;
};

struct Argument {
    size_t size;
    bool is_pointer;
};

struct Kernel {
    const char* name;
    unsigned most_threads;
    void (*call)(void** arguments);
    std::vector<Argument> arguments;
};

template <auto function> struct Unpacked;
template <typename... A, void (*function)(A...)> struct Unpacked<function> {
    static void call(void** arguments) { call(arguments, std::index_sequence_for<A...>()); }
    template <size_t... i> static void call(void** arguments, std::index_sequence<i...>) {
        function(*static_cast<std::remove_const_t<A>*>(arguments[i])...);
    }
    static std::vector<Argument> arguments() { return {Argument{sizeof(A), std::is_pointer<A>::value}...}; }
};

template <auto function> Kernel describe(const char* name, unsigned most_threads) {
    return {name, most_threads, Unpacked<function>::call, Unpacked<function>::arguments()};
}

struct Registration {
    explicit Registration(Kernel kernel);
};

// Null where there is none of that name.
const Kernel* find_kernel(const char* name);

struct Launch {
    const Kernel* kernel;
    Index grid, block;
    size_t shared_bytes;
    void** arguments;
};

// Runs all blocks, on all cores, and returns when the last is done.
void run(const Launch& launch);

// ---- For kernels under way

struct Machine;

// What a thread of the operating system is doing just now. All that is thread_local in the emulator stands in here, because
// the rest of its thread-local storage is the kernels' shared memory, and is overwritten before every block.
struct Now {
    Index thread, block, block_size, grid_size;
    unsigned char* shared;
    const Kernel* kernel;
    Machine* machine;
    void* context;
};
extern __thread Now now;

unsigned lane();
void wait_for_block();

// Waits for the lanes of the mask; the last to come calls `together` with what each lane brought. All bring the same one.
typedef void (*Together)(void* const* lanes, unsigned present);
void meet(const char* what, unsigned mask, Together together, void* brought);

void copy_later(void* shared, const void* global);
void close_copies();
void make_copies(unsigned groups_left);

// Ends the program with a message, which begins with where the kernel is.
[[noreturn]] void report(const char* format, ...) __attribute__((format(printf, 1, 2)));

}  // namespace emulator
