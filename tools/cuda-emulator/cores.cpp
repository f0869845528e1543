// A pool of threads that lives as long as the program: what is thread_local in it (the kernels' shared memory) is made once.
#include "cores.h"

#include <signal.h>

#include <algorithm>
#include <condition_variable>
#include <cstdlib>
#include <mutex>
#include <thread>

namespace emulator {

namespace {

class Pool {
public:
    explicit Pool(size_t helpers) : helpers(helpers) {
        for (size_t i = 0; i < helpers; i++) std::thread([this] { help(); }).detach();
    }

    // Whoever finds the helpers at work for another caller, does its work alone.
    void run(size_t wanted, const std::function<void()>& worker) {
        std::unique_lock<std::mutex> alone(in_use, std::try_to_lock);
        size_t called = alone ? std::min(wanted, helpers) : 0;
        if (called > 0) {
            std::lock_guard<std::mutex> lock(mutex);
            work = &worker;
            to_start = under_way = called;
        }
        if (called > 0) started.notify_all();
        worker();
        if (called > 0) {
            std::unique_lock<std::mutex> lock(mutex);
            under_way -= to_start;  // who has not begun by now finds nothing left to do
            to_start = 0;
            finished.wait(lock, [this] { return under_way == 0; });
        }
    }

private:
    void help() {
        // Faults are told of on a stack of their own, since the fault may be that the fiber's stack is full.
        static const size_t ALTERNATE_STACK = 64 << 10;
        stack_t alternate = {};
        alternate.ss_sp = malloc(ALTERNATE_STACK);
        alternate.ss_size = ALTERNATE_STACK;
        sigaltstack(&alternate, nullptr);

        std::unique_lock<std::mutex> lock(mutex);
        for (;;) {
            started.wait(lock, [this] { return to_start > 0; });
            to_start--;
            const std::function<void()>& mine = *work;
            lock.unlock();
            mine();
            lock.lock();
            if (--under_way == 0) finished.notify_one();
        }
    }

    const size_t helpers;
    std::mutex in_use, mutex;
    std::condition_variable started, finished;
    const std::function<void()>* work = nullptr;
    size_t to_start = 0, under_way = 0;
};

size_t threads_allowed() {
    // More would need more stacks than the kernel maps for one process.
    const size_t MOST = 16;
    const char* limit = getenv("EMULATED_CUDA_THREADS");
    size_t wanted = limit ? strtoull(limit, nullptr, 10) : std::thread::hardware_concurrency();
    return std::min(std::max<size_t>(wanted, 1), MOST);
}

}  // namespace

void on_cores(size_t tasks, const std::function<void()>& worker) {
    if (tasks == 0) return;
    static Pool* pool = new Pool(threads_allowed() - 1);
    pool->run(tasks - 1, worker);
}

}  // namespace emulator
