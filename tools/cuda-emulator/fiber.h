// Stacks to run functions on, and going from one to another without asking the operating system.
#pragma once

#include <cstddef>

namespace emulator {

// A stack that is left and taken up again. AddressSanitizer wants to hear of each change.
struct Place {
    void* saved = nullptr;
    unsigned char* bottom = nullptr;
    size_t bytes = 0;
    void* sanitizer = nullptr;
};

// Leaves `from`, which is where this runs, and goes on in `to`.
void go(Place& from, Place& to);
// The same for a place that nobody will come back to.
[[noreturn]] void go_for_good(Place& to);

// Makes the place one where `body` begins at the next go; its memory is made once. `number` tells places apart.
void begin(Place& place, unsigned number, void (*body)());
// To be called first by every `body`.
void arrived();

// The stack that this thread got from the operating system.
Place own_stack();

// Memory, in whole pages, before and behind which nothing may be touched.
unsigned char* map_between_walls(size_t bytes);

}  // namespace emulator
