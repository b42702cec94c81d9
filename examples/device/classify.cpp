// The smallest C++ program that runs a bundle's engine on a device, and proves it. It needs TensorRT
// (8.6 or newer) and the CUDA runtime, both part of JetPack.
//
//     g++ -std=c++17 -O2 classify.cpp -I/usr/local/cuda/include -L/usr/local/cuda/lib64 -lnvinfer -lcudart -o classify
//     ./classify . model.engine
//
// It needs an engine that was built on the device:
//
//     trtexec --onnx=bundle/GRAPH --saveEngine=model.engine OPTIONS
//
// GRAPH is model.onnx; for TensorRT 10 and 11 it is model.strong.onnx if the bundle has that file.
// OPTIONS depend on the version of TensorRT and on the precision of the bundle:
//
//     version   FP32                        FP16              INT8
//     8.6       --noTF32                    --fp16            --int8 --fp16
//     10        --noTF32 --stronglyTyped    --stronglyTyped   --stronglyTyped
//     11        --noTF32                    none              none
//
// A dynamic batch also needs --minShapes, --optShapes and --maxShapes, each with the name and the
// shape of the input in manifest.json: --minShapes=input:1x3x224x224. In 8.6 the nodes that the
// manifest keeps in FP32 need --layerPrecisions, which `edgekit deploy` writes.
//
// The first argument is a folder that was unpacked from `edgekit pack BUNDLE --as tar`. The program
// runs the golden images, prints the five likeliest classes of each, and ends with 1 where more of
// their first classes differ from the reference's than the third argument allows (0 by default;
// "golden" in manifest.json says how many differed at the export).

#include <NvInfer.h>
#include <cuda_runtime_api.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iostream>
#include <iterator>
#include <memory>
#include <numeric>
#include <sstream>
#include <string>
#include <vector>

namespace {

[[noreturn]] void fail(std::string const& what) {
    std::cerr << what << "\n";
    std::exit(3);
}

void check(cudaError_t code, char const* call) {
    if (code != cudaSuccess) fail(std::string(call) + " failed: CUDA error " + std::to_string(code));
}

std::vector<char> read(std::string const& path) {
    std::ifstream file(path, std::ios::binary);
    if (!file) fail(path + " cannot be read");
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

class Log : public nvinfer1::ILogger {
    void log(Severity severity, char const* message) noexcept override {
        if (severity <= Severity::kWARNING) std::cerr << message << "\n";
    }
};

struct Array {
    std::string type;
    std::vector<int64_t> shape;
    std::vector<char> data;

    size_t rowBytes() const { return data.size() / static_cast<size_t>(shape.at(0)); }
};

// golden.txt: a line each, "inputs uint8 16 224 224 3"
Array readArray(std::string const& folder, std::string const& wanted) {
    std::ifstream file(folder + "/golden.txt");
    std::string line;
    while (std::getline(file, line)) {
        std::istringstream words(line);
        std::string name;
        Array array;
        words >> name >> array.type;
        if (name != wanted) continue;
        for (int64_t side; words >> side;) array.shape.push_back(side);
        array.data = read(folder + "/" + wanted + ".bin");
        if (array.shape.empty() || array.data.empty()) fail(folder + ": " + wanted + " are empty");
        return array;
    }
    fail(folder + "/golden.txt does not tell " + wanted);
}

char const* nameOf(nvinfer1::DataType type) {
    switch (type) {
    case nvinfer1::DataType::kFLOAT: return "float32";
    case nvinfer1::DataType::kHALF: return "float16";
    case nvinfer1::DataType::kUINT8: return "uint8";
    default: return "another type";
    }
}

std::vector<size_t> best(float const* scores, size_t classes) {
    std::vector<size_t> order(classes);
    std::iota(order.begin(), order.end(), size_t{0});
    size_t const top = std::min<size_t>(5, classes);
    std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(top), order.end(),
                      [scores](size_t a, size_t b) { return scores[a] > scores[b]; });
    order.resize(top);
    return order;
}

}  // namespace

int main(int count, char** arguments) {
    if (count < 3 || count > 4) fail("usage: classify FOLDER ENGINE [ALLOWED]");
    std::string const folder = arguments[1];
    Array const images = readArray(folder + "/golden", "inputs");
    Array const expected = readArray(folder + "/golden", "outputs");
    size_t const classes = expected.rowBytes() / sizeof(float);
    if (classes == 1) fail("a single output has no best class: compare it with its threshold");
    std::vector<std::string> labels;
    std::ifstream names(folder + "/bundle/labels.txt");
    for (std::string line; std::getline(names, line);) labels.push_back(line);

    Log log;
    std::vector<char> const plan = read(arguments[2]);
    std::unique_ptr<nvinfer1::IRuntime> runtime(nvinfer1::createInferRuntime(log));
    if (!runtime) fail("TensorRT cannot start here");
    std::unique_ptr<nvinfer1::ICudaEngine> engine(runtime->deserializeCudaEngine(plan.data(), plan.size()));
    if (!engine) fail(std::string(arguments[2]) + " was not built on this device with this TensorRT: build it here");
    std::unique_ptr<nvinfer1::IExecutionContext> context(engine->createExecutionContext());
    if (!context) fail("the engine cannot be run: too little memory?");
    if (engine->getNbIOTensors() != 2) fail("the engine has not one input and one output");
    char const* given = engine->getIOTensorName(0);
    char const* scored = engine->getIOTensorName(1);
    if (engine->getTensorIOMode(given) != nvinfer1::TensorIOMode::kINPUT) std::swap(given, scored);
    if (images.type != nameOf(engine->getTensorDataType(given))) fail("the engine takes another type than " + images.type);
    if (engine->getTensorDataType(scored) != nvinfer1::DataType::kFLOAT) fail("the engine's scores are not float32");

    nvinfer1::Dims shape = engine->getTensorShape(given);
    size_t const batch = shape.d[0] > 0 ? static_cast<size_t>(shape.d[0]) : 1;
    shape.d[0] = static_cast<int32_t>(batch);
    if (!context->setInputShape(given, shape)) fail("the engine does not take the golden images");

    size_t const bytes = images.rowBytes();
    std::vector<float> scores(batch * classes);
    void* imageOnGpu = nullptr;
    void* scoresOnGpu = nullptr;
    cudaStream_t stream = nullptr;
    check(cudaMalloc(&imageOnGpu, batch * bytes), "cudaMalloc");
    check(cudaMalloc(&scoresOnGpu, scores.size() * sizeof(float)), "cudaMalloc");
    check(cudaStreamCreate(&stream), "cudaStreamCreate");
    context->setTensorAddress(given, imageOnGpu);
    context->setTensorAddress(scored, scoresOnGpu);

    int flips = 0;
    for (int64_t i = 0; i < images.shape[0]; ++i) {
        char const* image = images.data.data() + static_cast<size_t>(i) * bytes;
        for (size_t k = 0; k < batch; ++k) {
            check(cudaMemcpyAsync(static_cast<char*>(imageOnGpu) + k * bytes, image, bytes, cudaMemcpyHostToDevice, stream),
                  "cudaMemcpyAsync");
        }
        if (!context->enqueueV3(stream)) fail("the engine did not run");
        check(cudaMemcpyAsync(scores.data(), scoresOnGpu, scores.size() * sizeof(float), cudaMemcpyDeviceToHost, stream),
              "cudaMemcpyAsync");
        check(cudaStreamSynchronize(stream), "cudaStreamSynchronize");

        std::vector<float> reference(classes);
        std::memcpy(reference.data(), expected.data.data() + static_cast<size_t>(i) * classes * sizeof(float), classes * sizeof(float));
        float off = 0;
        for (size_t k = 0; k < classes; ++k) off = std::max(off, std::fabs(scores[k] - reference[k]));
        auto const order = best(scores.data(), classes);
        flips += order[0] != best(reference.data(), classes)[0];
        std::cout << "image " << i << ":";
        for (size_t k : order) std::cout << " " << (k < labels.size() ? labels[k] : std::to_string(k)) << " " << scores[k] << ",";
        std::cout << " off by " << off << " at most\n";
    }
    int const allowed = count == 4 ? std::atoi(arguments[3]) : 0;
    std::cout << flips << " of " << images.shape[0] << " first classes differ; " << allowed << " may\n";
    check(cudaStreamDestroy(stream), "cudaStreamDestroy");
    check(cudaFree(imageOnGpu), "cudaFree");
    check(cudaFree(scoresOnGpu), "cudaFree");
    return flips > allowed ? 1 : 0;
}
