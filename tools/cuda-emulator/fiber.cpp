// Going from stack to stack takes a dozen instructions, because a kernel does it at every shuffle; swapcontext asks the
// operating system each time. For x86-64 as Linux uses it.
#include "fiber.h"

#include <pthread.h>
#include <sys/mman.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
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

namespace {

const size_t PAGE = 4096, STACK = 256 << 10;

}  // namespace

void go(Place& from, Place& to) {
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_start_switch_fiber(&from.sanitizer, to.bottom, to.bytes);
#endif
    emulator_switch(&from.saved, to.saved);
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(from.sanitizer, nullptr, nullptr);
#endif
}

void go_for_good(Place& to) {
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_start_switch_fiber(nullptr, to.bottom, to.bytes);
#endif
    void* left;
    emulator_switch(&left, to.saved);
    __builtin_unreachable();
}

void begin(Place& place, unsigned number, void (*body)()) {
    if (!place.bottom) {
        place.bottom = map_between_walls(STACK);
        place.bytes = STACK;
    }
#ifdef __SANITIZE_ADDRESS__
    __asan_unpoison_memory_region(place.bottom, STACK);
#endif
    // Tops at different distances from the end, or all stacks would be after the same few lines of the processor's cache.
    unsigned char* end = place.bottom + STACK - number % 61 * 192;
    // What emulator_switch takes off: six registers and the address to go to, where a function finds the stack 8 bytes short
    // of 16-byte alignment.
    void** top = reinterpret_cast<void**>(end) - 8;
    memset(top, 0, 8 * sizeof(void*));
    top[6] = reinterpret_cast<void*>(body);
    place.saved = top;
}

void arrived() {
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(nullptr, nullptr, nullptr);
#endif
}

Place own_stack() {
    Place stack;  // where it lies, only AddressSanitizer asks
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

unsigned char* map_between_walls(size_t bytes) {
    void* at = mmap(nullptr, bytes + 2 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    unsigned char* begin = static_cast<unsigned char*>(at) + PAGE;
    if (at == MAP_FAILED || mprotect(begin, bytes, PROT_READ | PROT_WRITE) != 0) {
        perror("cuda-emulator: no room for stacks");
        abort();
    }
    return begin;
}

}  // namespace emulator
