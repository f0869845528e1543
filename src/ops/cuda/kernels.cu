// All kernels, as one source: each operation's file is included here.
#include "common.cuh"
