// Streams, events and graphs. A stream does at once what it is told; while it is captured, it notes the steps instead, and a
// launched graph does them in the order in which they came, whichever stream they came from.
#include <chrono>
#include <cstdio>
#include <memory>
#include <mutex>
#include <set>
#include <vector>

#include "api.h"
#include "poison.h"

using namespace emulator;

namespace {

// An allocation made while capturing.
struct GraphMemory {
    CUdeviceptr address;
    bool freed_within;
    bool in_use;  // allocated by a launch and not freed since
};

// What is captured from one or more streams, and what an instantiated graph repeats.
struct Graph {
    std::vector<Step> steps;
    std::vector<GraphMemory> memory;
    EmulatedStream* origin = nullptr;
    std::set<EmulatedStream*> members;  // while it is captured
    bool invalid = false;

    ~Graph() {
        // What a launch allocated and nobody freed outlives the graph.
        for (const GraphMemory& allocation : memory)
            if (!allocation.in_use) release(allocation.address);
    }
};

}  // namespace

struct EmulatedStream {
    std::recursive_mutex mutex;
    std::shared_ptr<Graph> capture;
};

struct EmulatedEvent {
    bool recorded = false;
    std::weak_ptr<Graph> capture;  // if it was recorded in one
    bool in_capture = false;
    std::chrono::steady_clock::time_point time;
};

// What cuGraph and cuGraphExec handles point to: the graph lives until the last of them is destroyed.
struct EmulatedGraph {
    std::shared_ptr<Graph> graph;
    bool frees_at_launch;
};

namespace {

// Which graph keeps an allocation that may be freed after the capture has ended.
std::mutex graphs_mutex;
std::set<Graph*> graphs_with_memory;

EmulatedStream& stream_of(CUstream handle) {
    static EmulatedStream* standard = new EmulatedStream;
    // Null, and NVIDIA's names for the legacy and the per-thread default stream.
    return reinterpret_cast<uintptr_t>(handle) <= 2 ? *standard : *handle;
}

CUresult invalidate(EmulatedStream& stream, CUresult result) {
    stream.capture->invalid = true;
    return result;
}

}  // namespace

namespace emulator {

CUresult submit(CUstream handle, Step step) {
    EmulatedStream& stream = stream_of(handle);
    std::lock_guard<std::recursive_mutex> lock(stream.mutex);
    if (lasting_failure()) return lasting_failure();
    if (!stream.capture) return step();
    if (stream.capture->invalid) return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
    stream.capture->steps.push_back(std::move(step));
    return CUDA_SUCCESS;
}

}  // namespace emulator

// ---- Streams

API CUresult cuStreamCreate(CUstream* stream, unsigned) {
    *stream = new EmulatedStream;
    return lasting_failure();
}

API CUresult cuStreamCreateWithPriority(CUstream* stream, unsigned flags, int) { return cuStreamCreate(stream, flags); }

API CUresult cuStreamDestroy_v2(CUstream stream) {
    delete stream;
    return CUDA_SUCCESS;
}

API CUresult cuStreamSynchronize(CUstream handle) {
    EmulatedStream& stream = stream_of(handle);
    std::lock_guard<std::recursive_mutex> lock(stream.mutex);
    if (stream.capture) return invalidate(stream, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    return lasting_failure();
}

API CUresult cuStreamWaitEvent(CUstream handle, CUevent event, unsigned) {
    EmulatedStream& stream = stream_of(handle);
    std::lock_guard<std::recursive_mutex> lock(stream.mutex);
    std::shared_ptr<Graph> other = event->capture.lock();
    if (event->in_capture && other && other->origin) {
        if (stream.capture && stream.capture != other) return invalidate(stream, CUDA_ERROR_STREAM_CAPTURE_MERGE);
        stream.capture = other;
        other->members.insert(&stream);
    } else if (stream.capture && event->recorded) {
        return invalidate(stream, CUDA_ERROR_STREAM_CAPTURE_ISOLATION);
    }
    return lasting_failure();
}

API CUresult cuLaunchHostFunc(CUstream stream, void (*function)(void*), void* data) {
    return submit(stream, [=] {
        function(data);
        return CUDA_SUCCESS;
    });
}

// ---- Events

API CUresult cuEventCreate(CUevent* event, unsigned) {
    *event = new EmulatedEvent;
    return lasting_failure();
}

API CUresult cuEventDestroy_v2(CUevent event) {
    delete event;
    return CUDA_SUCCESS;
}

API CUresult cuEventRecord(CUevent event, CUstream handle) {
    EmulatedStream& stream = stream_of(handle);
    std::lock_guard<std::recursive_mutex> lock(stream.mutex);
    event->recorded = true;
    event->in_capture = stream.capture != nullptr;
    event->capture = stream.capture;
    event->time = std::chrono::steady_clock::now();
    return lasting_failure();
}

API CUresult cuEventSynchronize(CUevent event) { return event->in_capture ? CUDA_ERROR_CAPTURED_EVENT : lasting_failure(); }

API CUresult cuEventQuery(CUevent event) { return cuEventSynchronize(event); }

API CUresult cuEventElapsedTime_v2(float* milliseconds, CUevent start, CUevent end) {
    if (!start->recorded || !end->recorded) return CUDA_ERROR_INVALID_HANDLE;
    *milliseconds = std::chrono::duration<float, std::milli>(end->time - start->time).count();
    return lasting_failure();
}

// ---- Memory in the order of a stream: within a capture it belongs to the graph, at one address for all launches

API CUresult cuMemAllocAsync(CUdeviceptr* address, size_t bytes, CUstream handle) {
    EmulatedStream& stream = stream_of(handle);
    std::lock_guard<std::recursive_mutex> lock(stream.mutex);
    if (!stream.capture) return allocate(bytes, address);
    if (stream.capture->invalid) return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
    Graph& graph = *stream.capture;
    CUresult result = allocate(bytes, address);
    if (result != CUDA_SUCCESS) return result;
    const size_t number = graph.memory.size();
    graph.memory.push_back({*address, false, false});
    graph.steps.push_back([&graph, number, bytes] {
        GraphMemory& mine = graph.memory[number];
        poison(reinterpret_cast<void*>(mine.address), bytes);
        mine.in_use = !mine.freed_within;
        return CUDA_SUCCESS;
    });
    std::lock_guard<std::mutex> all(graphs_mutex);
    graphs_with_memory.insert(&graph);
    return CUDA_SUCCESS;
}

API CUresult cuMemAllocFromPoolAsync(CUdeviceptr* address, size_t bytes, CUmemoryPool, CUstream stream) {
    return cuMemAllocAsync(address, bytes, stream);
}

API CUresult cuMemFreeAsync(CUdeviceptr address, CUstream handle) {
    EmulatedStream& stream = stream_of(handle);
    std::lock_guard<std::recursive_mutex> lock(stream.mutex);
    std::lock_guard<std::mutex> all(graphs_mutex);
    for (Graph* graph : graphs_with_memory) {
        for (GraphMemory& memory : graph->memory) {
            if (memory.address != address) continue;
            if (stream.capture.get() == graph) memory.freed_within = true;
            memory.in_use = false;
            return CUDA_SUCCESS;
        }
    }
    // A free node can only be made for what a graph allocated.
    if (stream.capture) return invalidate(stream, CUDA_ERROR_INVALID_VALUE);
    return release(address);
}

// ---- Capture and graphs

API CUresult cuStreamBeginCapture_v2(CUstream handle, unsigned) {
    EmulatedStream& stream = stream_of(handle);
    std::lock_guard<std::recursive_mutex> lock(stream.mutex);
    // The default stream cannot be captured.
    if (&stream == &stream_of(nullptr)) return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    if (stream.capture) return CUDA_ERROR_INVALID_VALUE;
    // Whoever destroys the graph last takes it off the list of those with memory.
    stream.capture = std::shared_ptr<Graph>(new Graph, [](Graph* graph) {
        {
            std::lock_guard<std::mutex> all(graphs_mutex);
            graphs_with_memory.erase(graph);
        }
        delete graph;
    });
    stream.capture->origin = &stream;
    stream.capture->members.insert(&stream);
    return lasting_failure();
}

API CUresult cuStreamIsCapturing(CUstream handle, int* status) {
    EmulatedStream& stream = stream_of(handle);
    std::lock_guard<std::recursive_mutex> lock(stream.mutex);
    *status = !stream.capture ? 0 : stream.capture->invalid ? 2 : 1;
    return CUDA_SUCCESS;
}

API CUresult cuStreamEndCapture(CUstream handle, EmulatedGraph** graph) {
    EmulatedStream& stream = stream_of(handle);
    std::lock_guard<std::recursive_mutex> lock(stream.mutex);
    *graph = nullptr;
    if (!stream.capture || stream.capture->origin != &stream) return CUDA_ERROR_STREAM_CAPTURE_UNMATCHED;
    std::shared_ptr<Graph> captured = stream.capture;
    for (EmulatedStream* member : captured->members) member->capture = nullptr;
    captured->members.clear();
    captured->origin = nullptr;
    if (captured->invalid) return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
    *graph = new EmulatedGraph{captured, false};
    return CUDA_SUCCESS;
}

API CUresult cuGraphInstantiateWithFlags(EmulatedGraph** executable, EmulatedGraph* graph, unsigned long long flags) {
    const unsigned long long AUTO_FREE = 1, DEVICE_LAUNCH = 4;
    if (flags & DEVICE_LAUNCH) return CUDA_ERROR_INVALID_VALUE;
    *executable = new EmulatedGraph{graph->graph, (flags & AUTO_FREE) != 0};
    return lasting_failure();
}

API CUresult cuGraphUpload(EmulatedGraph*, CUstream) { return lasting_failure(); }

API CUresult cuGraphLaunch(EmulatedGraph* executable, CUstream stream) {
    std::shared_ptr<Graph> graph = executable->graph;
    const bool frees = executable->frees_at_launch;
    return submit(stream, [graph, frees] {
        for (const GraphMemory& memory : graph->memory) {
            if (!memory.in_use || frees) continue;
            fprintf(stderr, "cuda-emulator: a graph is launched again while memory of its last launch is not freed\n");
            return CUDA_ERROR_INVALID_VALUE;
        }
        for (const Step& step : graph->steps) {
            CUresult result = step();
            if (result != CUDA_SUCCESS) return result;
        }
        return CUDA_SUCCESS;
    });
}

API CUresult cuGraphGetNodes(EmulatedGraph* graph, void**, size_t* count) {
    *count = graph->graph->steps.size();
    return CUDA_SUCCESS;
}

API CUresult cuGraphExecDestroy(EmulatedGraph* executable) {
    delete executable;
    return CUDA_SUCCESS;
}

API CUresult cuGraphDestroy(EmulatedGraph* graph) {
    delete graph;
    return CUDA_SUCCESS;
}
