"""What TensorRT's engine inspector writes, in its dialects."""

from __future__ import annotations

import json

from edgekit.runtimes.tensorrt.inspection.inspector import read_inspector
from edgekit.runtimes.tensorrt.inspection.layers import EngineLayer

IMAGE, CHW4, CHW32, HALF = (
    "Row major linear FP32",
    "Four wide channel vectorized row major Int8 format",
    "Thirty-two wide channel vectorized row major Int8 format",
    "Thirty-two wide channel vectorized row major FP16 format",
)


def tensor(name, described, shape=(1, 8, 4, 4)):
    return {
        "Name": name,
        "Location": "Device",
        "Dimensions": list(shape),
        "Format/Datatype": described,
    }


def layer(name, kind, inputs, outputs, **rest):
    return {
        "Name": name,
        "LayerType": kind,
        "Inputs": [tensor(f"{name}:{i}", d) for i, d in enumerate(inputs)],
        "Outputs": [tensor(name, d) for d in outputs],
        **rest,
    }


EIGHT = {
    "Layers": [
        layer("input/QuantizeLinear", "Reformat", [IMAGE], [CHW4], Origin="QDQ"),
        layer("0.weight + 0/QuantizeLinear + 0/Conv + PWN(0/Clip)", "CaskConvolution", [CHW4], [CHW32], ParameterType="Convolution",
              Weights={"Type": "Int8", "Count": 864}, TacticName="volta_int8x4_icudnn_int8x4_128x32"),
        layer("1.weight + 1/Conv + 1/Add", "CaskConvolution", [CHW32, HALF], [HALF], ParameterType="Convolution",
              Weights={"Type": "Int8", "Count": 96}, TacticName="turing_fp16_i8816cudnn_int8_128x128"),
        layer("PWN(2/Sigmoid, 2/Mul)", "PointWiseV2", [HALF], [HALF]),
        layer("Reformatting CopyNode for Input Tensor 0 to pool", "NoOp", [HALF], [HALF]),
        layer("pool", "CaskPooling", [CHW32], [CHW32]),
        layer("(Unnamed Layer* 9) [Shuffle]", "Shuffle", ["Row major linear FP16 "
                                                          "format."], ["Row major linear FP16 "
                                                                       "format."]),
        layer("head", "MatrixMultiply", ["Row major linear FP16 format"], ["Row major linear FP16 "
                                                                           "format"]),
        layer("softmax", "SoftMax", ["Row major linear FP16 format"], ["Row major linear FP32"]),
    ],
    "Bindings": ["input", "logits"],
}  # fmt: skip


TEN = {
    "Layers": [
        layer("__myl_Cast_myl0_0", "kgen", ["Float"], ["Half"], Metadata="[ONNX Layer: "
                                                                         "input|fp16]", TacticName="__myl_Cast_0x1"),
        layer("0/Conv_myl0_1", "correlation", ["Half", "Half", "Half"], ["Half"],
              Metadata="[ONNX Layer: 0/Conv]\x1e[ONNX Layer: 0/Relu]", TacticName="sm80_xmma_fprop_implicit_gemm_f16f16_f16f16_f16_nhwckrsc"),
        layer("__myl_CastMul_myl0_2", "kgen", ["Float", "Half"], ["Half"], Metadata="[ONNX Layer: "
                                                                                    "1/Mul]"),
        layer("head_myl0_3", "gemm", ["Int8", "Int8", "Half"], ["Half"], Metadata="[ONNX Layer: "
                                                                                  "head/Gemm]"),
        layer("__mye_signal", "signal", [], []),
        layer("__myl_Softmax", "kgen", ["Float"], ["Float"], Metadata="[ONNX Layer: softmax]"),
        layer("dequantize and add", "kgen", ["Int8", "Half"], ["Half"], Metadata="[ONNX Layer: "
                                                                                 "4/Add]"),
        layer("indices", "TopK", ["Int32"], ["Int32"]),
    ],
    "Bindings": ["input", "logits"],
}  # fmt: skip


def read(document) -> list[EngineLayer]:
    return list(read_inspector(json.dumps(document)))


def fp16(*more):
    return {"Layers": [*TEN["Layers"][:3], *more]}
