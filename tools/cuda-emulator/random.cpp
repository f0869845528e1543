// cuRAND, as far as candle's devices need it: numbers of the right distribution, not the ones that a GPU would draw.
#include <random>

#include "api.h"

namespace {

struct Generator {
    std::mt19937_64 engine;
    CUstream stream = nullptr;
};

const int SUCCESS = 0, LAUNCH_FAILURE = 201;

// The state moves on when the numbers are drawn: at the launch, if that is captured.
template <typename T, typename Distribution> int fill(Generator* generator, T* to, size_t count, Distribution distribution) {
    CUresult result = emulator::submit(generator->stream, [=] {
        Distribution mine = distribution;
        for (size_t i = 0; i < count; i++) to[i] = mine(generator->engine);
        return CUDA_SUCCESS;
    });
    return result == CUDA_SUCCESS ? SUCCESS : LAUNCH_FAILURE;
}

}  // namespace

API int curandCreateGenerator(Generator** generator, int) {
    *generator = new Generator;
    return SUCCESS;
}

API int curandDestroyGenerator(Generator* generator) {
    delete generator;
    return SUCCESS;
}

API int curandSetStream(Generator* generator, CUstream stream) {
    generator->stream = stream;
    return SUCCESS;
}

API int curandSetPseudoRandomGeneratorSeed(Generator* generator, unsigned long long seed) {
    generator->engine.seed(seed);
    return SUCCESS;
}

API int curandGenerateUniform(Generator* generator, float* to, size_t count) {
    return fill(generator, to, count, std::uniform_real_distribution<float>(0, 1));
}

API int curandGenerateUniformDouble(Generator* generator, double* to, size_t count) {
    return fill(generator, to, count, std::uniform_real_distribution<double>(0, 1));
}

API int curandGenerateNormal(Generator* generator, float* to, size_t count, float mean, float deviation) {
    return fill(generator, to, count, std::normal_distribution<float>(mean, deviation));
}

API int curandGenerateNormalDouble(Generator* generator, double* to, size_t count, double mean, double deviation) {
    return fill(generator, to, count, std::normal_distribution<double>(mean, deviation));
}
