// Runs the ONNX parser of TensorRT 8.6 without a GPU: `parse GRAPH.onnx...` prints a line of json a graph, its error null where the parser took it.
//
// The parser is NVIDIA's; the network that it fills is a stand-in: it keeps no weights, computes nothing, and knows of shapes what the parser asks about.
// stubs.h holds an empty implementation of each of TensorRT's interfaces (stubs.py makes it); what classifiers need is overridden here.

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <type_traits>
#include <unistd.h>
#include <vector>

#include "NvInfer.h"
#include "NvOnnxParser.h"

using namespace nvinfer1;

// What the stand-in was asked for and does not have; part of a refusal's reason.
std::string lacking;
void missing(char const* method) {
  if (std::string{method} != "getErrorRecorder") lacking += std::string{lacking.empty() ? "" : ", "} + method;
}

#include "stubs.h"

struct TensorState : EmptyVTensor {
  std::string name, dimensionName;
  Dims shape{};
  DataType type{DataType::kFLOAT};
  bool isInput{false};
  void setName(char const* given) noexcept override { name = given; }
  char const* getName() const noexcept override { return name.c_str(); }
  void setDimensions(Dims given) noexcept override { shape = given; }
  Dims getDimensions() const noexcept override { return shape; }
  void setType(DataType given) noexcept override { type = given; }
  DataType getType() const noexcept override { return type; }
  bool isNetworkInput() const noexcept override { return isInput; }
  void setDimensionName(int32_t, char const* given) noexcept override { dimensionName = given; }
  char const* getDimensionName(int32_t) const noexcept override { return dimensionName.c_str(); }
};

struct Tensor : ITensor {
  TensorState state;
  Tensor() { mImpl = &state; }
};

struct LayerState;

// The part of a layer that its kind has; told when the shape of its output changes.
struct Details {
  LayerState* layer{nullptr};
  virtual void reshape() {}
  virtual ~Details() = default;
};

struct LayerState : EmptyVLayer {
  LayerType type;
  std::string name;
  std::vector<ITensor*> inputs;
  Tensor output;
  Details* details{nullptr};
  LayerType getType() const noexcept override { return type; }
  void setName(char const* given) noexcept override { output.state.name = name = given; }
  char const* getName() const noexcept override { return name.c_str(); }
  int32_t getNbInputs() const noexcept override { return static_cast<int32_t>(inputs.size()); }
  ITensor* getInput(int32_t i) const noexcept override { return i < getNbInputs() ? inputs[i] : nullptr; }
  int32_t getNbOutputs() const noexcept override { return 1; }
  ITensor* getOutput(int32_t i) const noexcept override { return i == 0 ? const_cast<Tensor*>(&output) : nullptr; }
  void setInput(int32_t i, ITensor& tensor) noexcept override {
    if (i >= getNbInputs()) inputs.resize(i + 1);
    inputs[i] = &tensor;
    if (details) details->reshape();
  }
  void setOutputType(int32_t, DataType given) noexcept override { output.state.type = given; }
  DataType getOutputType(int32_t) const noexcept override { return output.state.type; }
  Dims in(size_t i = 0) const { return inputs[i]->getDimensions(); }
  Dims& out() { return output.state.shape; }
};

int32_t layerCount = 0;

// A layer of TensorRT's class I, whose own part is S. Its output looks like its first input until something else is known.
template <class I, class S>
struct Layer : I {
  LayerState state;
  S own;
  Layer(LayerType type, std::vector<ITensor*> inputs) {
    this->mLayer = &state;
    this->mImpl = &own;
    state.type = type;
    state.inputs = std::move(inputs);
    if (!state.inputs.empty()) {
      state.out() = state.in();
      state.output.state.type = state.inputs[0]->getType();
    }
    if constexpr (std::is_base_of_v<Details, S>) {
      state.details = &own;
      own.layer = &state;
    }
    ++layerCount;
  }
};

Dims of(std::initializer_list<int32_t> sizes) {
  Dims dims{};
  for (int32_t size : sizes) dims.d[dims.nbDims++] = size;
  return dims;
}

Dims broadcast(Dims const& a, Dims const& b) {
  Dims result = a.nbDims >= b.nbDims ? a : b;
  for (int32_t i = 1; i <= std::min(a.nbDims, b.nbDims); ++i) {
    int32_t const x = a.d[a.nbDims - i], y = b.d[b.nbDims - i];
    result.d[result.nbDims - i] = x == 1 ? y : y == 1 ? x : std::max(x, y);
  }
  return result;
}

// Sliding windows, of convolution and pooling alike.
struct Windows : Details {
  Dims kernel{}, stride{of({1, 1})}, dilation{of({1, 1})}, before{of({0, 0})}, behind{of({0, 0})};
  int32_t channels{-1};
  PaddingMode mode{PaddingMode::kEXPLICIT_ROUND_DOWN};
  void reshape() override {
    if (layer->inputs.size() > 1) kernel = of({layer->in(1).d[2], layer->in(1).d[3]}), channels = layer->in(1).d[0];
    Dims const given = layer->in();
    Dims& made = layer->out();
    if (channels > 0) made.d[1] = channels;
    for (int32_t i = 0; i < 2; ++i) {
      int32_t const room = given.d[i + 2] + before.d[i] + behind.d[i] - dilation.d[i] * (kernel.d[i] - 1) - 1;
      made.d[i + 2] = (mode == PaddingMode::kEXPLICIT_ROUND_UP ? room + stride.d[i] - 1 : room) / stride.d[i] + 1;
    }
  }
  void set(Dims& what, Dims const& value) { what = value, reshape(); }
};

template <class Empty>
struct WindowsOf : Empty, Windows {
  void setStrideNd(Dims given) noexcept override { set(stride, given); }
  void setPrePadding(Dims given) noexcept override { set(before, given); }
  void setPostPadding(Dims given) noexcept override { set(behind, given); }
  void setPaddingNd(Dims given) noexcept override { set(before, given), set(behind, given); }
  void setPaddingMode(PaddingMode given) noexcept override { mode = given, reshape(); }
};

struct Convolution : WindowsOf<EmptyVConvolutionLayer> {
  void setDilationNd(Dims given) noexcept override { set(dilation, given); }
};
using Pooling = WindowsOf<EmptyVPoolingLayer>;

struct Shuffle : EmptyVShuffleLayer, Details {
  Permutation first{0, 1, 2, 3, 4, 5, 6, 7}, second{0, 1, 2, 3, 4, 5, 6, 7};
  Dims wanted{-1};
  bool zeroCopies{true};
  void setFirstTranspose(Permutation const& given) noexcept override { first = given, reshape(); }
  void setSecondTranspose(Permutation const& given) noexcept override { second = given, reshape(); }
  void setReshapeDimensions(Dims given) noexcept override { wanted = given, reshape(); }
  Dims getReshapeDimensions() const noexcept override { return wanted; }
  void setZeroIsPlaceholder(bool given) noexcept override { zeroCopies = given, reshape(); }
  void reshape() override {
    Dims const given = permuted(layer->in(), first);
    Dims made = wanted.nbDims < 0 ? given : wanted;
    if (layer->inputs.size() > 1) {
      made.nbDims = layer->in(1).d[0];
      std::fill_n(made.d, made.nbDims, -1);
    } else if (wanted.nbDims >= 0) {
      for (int32_t i = 0; i < made.nbDims; ++i)
        if (zeroCopies && made.d[i] == 0) made.d[i] = given.d[i];
      int64_t const all = volume(given);
      for (int32_t i = 0; i < made.nbDims; ++i)
        if (made.d[i] == -1 && all >= 0) made.d[i] = 1, made.d[i] = static_cast<int32_t>(all / volume(made));
    }
    layer->out() = permuted(made, second);
  }
  static Dims permuted(Dims const& dims, Permutation const& order) {
    Dims result = dims;
    for (int32_t i = 0; i < dims.nbDims; ++i) result.d[i] = dims.d[order.order[i]];
    return result;
  }
  static int64_t volume(Dims const& dims) {
    int64_t product = 1;
    for (int32_t i = 0; i < dims.nbDims; ++i) {
      if (dims.d[i] < 0) return -1;
      product *= dims.d[i];
    }
    return product;
  }
};

struct Concatenation : EmptyVConcatenationLayer, Details {
  void setAxis(int32_t axis) noexcept override {
    int32_t sum = 0;
    for (ITensor* tensor : layer->inputs) {
      int32_t const size = tensor->getDimensions().d[axis];
      sum = sum < 0 || size < 0 ? -1 : sum + size;
    }
    layer->out() = layer->in();
    layer->out().d[axis] = sum;
  }
};

// A slice whose sizes are computed has sizes that nobody knows.
struct Slice : EmptyVSliceLayer, Details {
  void reshape() override {
    if (layer->inputs.size() > 2) std::fill_n(layer->out().d, layer->out().nbDims, -1);
  }
};

struct Network : EmptyVNetworkDefinition {
  std::vector<ITensor*> given;

  template <class I, class S>
  I* add(LayerType type, std::vector<ITensor*> inputs) { return new Layer<I, S>(type, std::move(inputs)); }
  template <class I, class S>
  I* add(LayerType type, std::vector<ITensor*> inputs, Dims shape) {
    auto* layer = new Layer<I, S>(type, std::move(inputs));
    layer->state.out() = shape;
    return layer;
  }
  template <class I, class S>
  I* add(LayerType type, std::vector<ITensor*> inputs, DataType made) {
    auto* layer = new Layer<I, S>(type, std::move(inputs));
    layer->state.output.state.type = made;
    return layer;
  }
  template <class I, class S>
  I* windows(LayerType type, ITensor& input, Dims kernel, int32_t channels) {
    auto* layer = new Layer<I, S>(type, {&input});
    layer->own.kernel = kernel, layer->own.channels = channels;
    layer->own.reshape();
    return layer;
  }

  ITensor* addInput(char const* name, DataType type, Dims shape) noexcept override {
    auto* tensor = new Tensor;
    tensor->state.name = name, tensor->state.type = type, tensor->state.shape = shape, tensor->state.isInput = true;
    given.push_back(tensor);
    return tensor;
  }
  int32_t getNbInputs() const noexcept override { return static_cast<int32_t>(given.size()); }
  ITensor* getInput(int32_t i) const noexcept override { return given[i]; }
  int32_t getNbLayers() const noexcept override { return layerCount; }
  void markOutput(ITensor&) noexcept override {}
  bool setWeightsName(Weights, char const*) noexcept override { return true; }

  IConstantLayer* addConstant(Dims shape, Weights weights) noexcept override {
    auto* layer = new Layer<IConstantLayer, EmptyVConstantLayer>(LayerType::kCONSTANT, {});
    layer->state.out() = shape, layer->state.output.state.type = weights.type;
    return layer;
  }
  IQuantizeLayer* addQuantize(ITensor& x, ITensor& scale) noexcept override {
    return add<IQuantizeLayer, EmptyVQuantizeLayer>(LayerType::kQUANTIZE, {&x, &scale}, DataType::kINT8);
  }
  IDequantizeLayer* addDequantize(ITensor& x, ITensor& scale) noexcept override {
    return add<IDequantizeLayer, EmptyVDequantizeLayer>(LayerType::kDEQUANTIZE, {&x, &scale}, DataType::kFLOAT);
  }
  ICastLayer* addCast(ITensor& x, DataType type) noexcept override { return add<ICastLayer, EmptyVCastLayer>(LayerType::kCAST, {&x}, type); }
  IIdentityLayer* addIdentity(ITensor& x) noexcept override { return add<IIdentityLayer, EmptyVIdentityLayer>(LayerType::kIDENTITY, {&x}); }
  IActivationLayer* addActivation(ITensor& x, ActivationType) noexcept override {
    return add<IActivationLayer, EmptyVActivationLayer>(LayerType::kACTIVATION, {&x});
  }
  IUnaryLayer* addUnary(ITensor& x, UnaryOperation) noexcept override { return add<IUnaryLayer, EmptyVUnaryLayer>(LayerType::kUNARY, {&x}); }
  ISoftMaxLayer* addSoftMax(ITensor& x) noexcept override { return add<ISoftMaxLayer, EmptyVSoftMaxLayer>(LayerType::kSOFTMAX, {&x}); }
  ILRNLayer* addLRN(ITensor& x, int32_t, float, float, float) noexcept override { return add<ILRNLayer, EmptyVLRNLayer>(LayerType::kLRN, {&x}); }
  IScaleLayer* addScaleNd(ITensor& x, ScaleMode, Weights, Weights, Weights, int32_t) noexcept override {
    return add<IScaleLayer, EmptyVScaleLayer>(LayerType::kSCALE, {&x});
  }
  IElementWiseLayer* addElementWise(ITensor& a, ITensor& b, ElementWiseOperation) noexcept override {
    Dims const shape = broadcast(a.getDimensions(), b.getDimensions());
    return add<IElementWiseLayer, EmptyVElementWiseLayer>(LayerType::kELEMENTWISE, {&a, &b}, shape);
  }
  IConvolutionLayer* addConvolutionNd(ITensor& x, int32_t channels, Dims kernel, Weights, Weights) noexcept override {
    return windows<IConvolutionLayer, Convolution>(LayerType::kCONVOLUTION, x, kernel, channels);
  }
  IPoolingLayer* addPoolingNd(ITensor& x, PoolingType, Dims kernel) noexcept override {
    return windows<IPoolingLayer, Pooling>(LayerType::kPOOLING, x, kernel, -1);
  }
  IReduceLayer* addReduce(ITensor& x, ReduceOperation, uint32_t axes, bool keep) noexcept override {
    Dims const from = x.getDimensions();
    Dims shape{};
    for (int32_t i = 0; i < from.nbDims; ++i) {
      bool const reduced = axes >> i & 1;
      if (!reduced || keep) shape.d[shape.nbDims++] = reduced ? 1 : from.d[i];
    }
    return add<IReduceLayer, EmptyVReduceLayer>(LayerType::kREDUCE, {&x}, shape);
  }
  IMatrixMultiplyLayer* addMatrixMultiply(ITensor& a, MatrixOperation opA, ITensor& b, MatrixOperation opB) noexcept override {
    Dims left = a.getDimensions(), right = b.getDimensions();
    int32_t const n = left.nbDims;
    if (opA == MatrixOperation::kTRANSPOSE) std::swap(left.d[n - 1], left.d[n - 2]);
    if (opB == MatrixOperation::kTRANSPOSE) std::swap(right.d[n - 1], right.d[n - 2]);
    left.d[n - 1] = right.d[n - 1];
    return add<IMatrixMultiplyLayer, EmptyVMatrixMultiplyLayer>(LayerType::kMATRIX_MULTIPLY, {&a, &b}, left);
  }
  IShuffleLayer* addShuffle(ITensor& x) noexcept override { return add<IShuffleLayer, Shuffle>(LayerType::kSHUFFLE, {&x}); }
  IConcatenationLayer* addConcatenation(ITensor* const* inputs, int32_t count) noexcept override {
    auto* layer = new Layer<IConcatenationLayer, Concatenation>(LayerType::kCONCATENATION, {inputs, inputs + count});
    layer->own.setAxis(0);
    return layer;
  }
  ISliceLayer* addSlice(ITensor& x, Dims, Dims size, Dims) noexcept override { return add<ISliceLayer, Slice>(LayerType::kSLICE, {&x}, size); }
  IGatherLayer* addGather(ITensor& x, ITensor& indices, int32_t) noexcept override {
    return add<IGatherLayer, EmptyVGatherLayer>(LayerType::kGATHER, {&x, &indices}, indices.getDimensions());
  }
  IShapeLayer* addShape(ITensor& x) noexcept override {
    auto* layer = new Layer<IShapeLayer, EmptyVShapeLayer>(LayerType::kSHAPE, {&x});
    layer->state.out() = of({x.getDimensions().nbDims}), layer->state.output.state.type = DataType::kINT32;
    return layer;
  }
};

struct Definition : INetworkDefinition {
  Network network;
  Definition() { mImpl = &network; }
};

struct Silent : ILogger {
  void log(Severity, char const*) noexcept override {}
};

std::string quoted(std::string const& text) {
  std::string result = "\"";
  for (char c : text) {
    if (c == '"' || c == '\\') result += '\\';
    result += c == '\n' ? ' ' : c;
  }
  return result + "\"";
}

int main(int count, char** paths) {
  for (int i = 1; i < count; ++i) {
    Silent log;
    auto* network = new Definition;
    lacking.clear(), layerCount = 0;
    auto* parser = nvonnxparser::createParser(*network, log);
    bool const taken = parser->parseFromFile(paths[i], static_cast<int>(ILogger::Severity::kERROR));
    std::string reason;
    for (int32_t j = 0; j < parser->getNbErrors(); ++j) reason += std::string{j ? "; " : ""} + parser->getError(j)->desc();
    if (!taken && !lacking.empty()) reason += " (the stand-in lacks " + lacking + ")";
    std::printf("{\"graph\": %s, \"layers\": %d, \"error\": %s}\n", quoted(paths[i]).c_str(), layerCount, taken ? "null" : quoted(reason).c_str());
    std::fflush(stdout);
  }
  _exit(0);  // the libraries' own end would look for a GPU
}
