// What memory holds that nobody has written: no number as float, double and bf16, and as an index far out of any array.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace emulator {

const uint32_t POISON = 0x7fffffff;

inline void poison(void* begin, size_t bytes) {
    unsigned char* at = static_cast<unsigned char*>(begin);
    for (; bytes >= 4; at += 4, bytes -= 4) memcpy(at, &POISON, 4);
    memcpy(at, &POISON, bytes);
}

}  // namespace emulator
