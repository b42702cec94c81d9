// In the place of libnvinfer and libcudart, to link with: a TensorRT that cannot start.
#include "cuda_runtime_api.h"

extern "C" {
void* createInferRuntime_INTERNAL(void*, int) noexcept { return nullptr; }
cudaError_t cudaMalloc(void**, size_t) { return cudaSuccess; }
cudaError_t cudaFree(void*) { return cudaSuccess; }
cudaError_t cudaMemcpyAsync(void*, void const*, size_t, cudaMemcpyKind, cudaStream_t) { return cudaSuccess; }
cudaError_t cudaStreamCreate(cudaStream_t*) { return cudaSuccess; }
cudaError_t cudaStreamDestroy(cudaStream_t) { return cudaSuccess; }
cudaError_t cudaStreamSynchronize(cudaStream_t) { return cudaSuccess; }
}
