"""What the inspector and the profiler of TensorRT 8 told of ten real engines, recorded by NVIDIA;
see trex.LICENSE.

The oracles are what the reader does not look at: the names of the kernels, which say what they
compute in, and the profiler's own percentages.
"""

from __future__ import annotations

import gzip
import json
import re
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edgekit.artifact import PrecisionName
from edgekit.runtimes.tensorrt.inspection.audit import Audit, audit
from edgekit.runtimes.tensorrt.inspection.inspector import read_inspector
from edgekit.runtimes.tensorrt.inspection.layers import EngineLayer
from edgekit.runtimes.tensorrt.running.layertimes import layer_times

DUMPS: dict[str, Any] = json.loads(
    gzip.decompress(Path(__file__).with_name("trex.json.gz").read_bytes())
)
QAT = [name for name in DUMPS if "qat" in name]
A100, RTX_3090 = "pytorch/resnet/A100", "tensorflow/resnet/RTX-3090"
KERNELS = (
    (re.compile(r"i8816|i8i32|i8f32|int8x4|icudnn"), "int8"),
    (re.compile(r"f16f16|h16816|h1688"), "fp16"),
    (re.compile(r"f32f32|scudnn"), "fp32"),
)
_PRODUCT = re.compile(r"^(Conv|Gemm)_+\d+$|/(Conv2D|MatMul|BiasAdd)$")


def read(name: str, change: Any = None) -> tuple[EngineLayer, ...]:
    graph = json.loads(json.dumps(DUMPS[name]["graph"]))
    for layer in graph["Layers"]:
        if change is not None:
            change(layer)
    return read_inspector(json.dumps(graph))


def products(layers: tuple[EngineLayer, ...]) -> tuple[str, ...]:
    """The convolutions and products of the graph by their nodes, one a layer that computes one."""
    return tuple(
        next(node for node in layer.onnx_layers if _PRODUCT.search(node))
        for layer in layers
        if layer.matrix
    )


def judged(
    name: str,
    precision: PrecisionName,
    layers: tuple[EngineLayer, ...] | None = None,
    excuse: str | None = "by the builder's choice",
) -> Audit:
    layers = read(name) if layers is None else layers
    return audit(
        layers,
        precision,
        (),
        products(layers) if precision == "int8" else (),
        of="engine",
        excuse=excuse,
        times=times(name),
    )


def times(name: str) -> dict[str, float]:
    return {told["name"]: told["averageMs"] for told in DUMPS[name]["profile"]}


@pytest.mark.parametrize(
    ("name", "computing", "roles"),
    [
        (f"{A100}/fp16", {("fp16", True): 21, ("fp16", False): 2}, {"reformat": 2, "other": 11}),
        (f"{A100}/fp32", {("fp32", True): 21, ("fp32", False): 2}, {"reformat": 1, "other": 8}),
        (
            f"{A100}/qat",
            {("int8", True): 21, ("fp32", False): 1, ("fp16", False): 1},
            {"reformat": 12, "other": 2},
        ),
        (
            f"{A100}/qat-residual",
            {("int8", True): 21, ("fp32", False): 1},
            {"reformat": 3, "other": 1},
        ),
        (
            f"{A100}/qat-residual-qgap",
            {("int8", True): 21, ("int8", False): 1},
            {"reformat": 1, "other": 1},
        ),
        (
            f"{RTX_3090}/fp16",
            {("fp16", True): 54, ("fp16", False): 3, ("fp32", False): 1},
            {"reformat": 2, "other": 26},
        ),
        (
            f"{RTX_3090}/fp32",
            {("fp32", True): 54, ("fp32", False): 4},
            {"reformat": 13, "other": 32},
        ),
        (
            f"{RTX_3090}/qat",
            {("int8", True): 54, ("int8", False): 3, ("fp32", False): 2},
            {"reformat": 2, "other": 2},
        ),
        ("mobilenet.qat", {("int8", True): 53, ("fp16", False): 1}, {"reformat": 18, "other": 1}),
        (
            "mobilenet_v2_residuals.qat",
            {("int8", True): 53, ("fp16", False): 1},
            {"reformat": 3, "other": 1},
        ),
    ],
)
def test_every_layer_has_a_role_and_every_computing_one_a_precision(
    name: str, computing: dict[Any, int], roles: dict[str, int]
) -> None:
    layers = read(name)
    assert (
        Counter((layer.precision, layer.matrix) for layer in layers if layer.role == "compute")
        == computing
    )
    assert Counter(layer.role for layer in layers if layer.role != "compute") == roles


@pytest.mark.parametrize("name", DUMPS)
def test_the_kernels_names_agree(name: str) -> None:
    told = [
        (layer, precision)
        for layer in read(name)
        for pattern, precision in KERNELS
        if layer.matrix and pattern.search(layer.tactic)
    ]
    assert len(told) >= 15
    assert [(layer.name, layer.precision) for layer, _ in told] == [
        (layer.name, precision) for layer, precision in told
    ]


@pytest.mark.parametrize("name", QAT)
def test_quantizers_are_reformats(name: str) -> None:
    """Each is a layer of its own only where it could not be fused."""
    alone = [
        layer
        for layer in read(name)
        if re.fullmatch(r"(Quantize|Dequantize)Linear_\d+", layer.name)
    ]
    assert {layer.role for layer in alone} <= {"reformat"}
    as_scales = read(
        name,
        lambda layer: (
            layer.update(LayerType="Scale", ParameterType="Scale")
            if layer["LayerType"] == "Reformat"
            else None
        ),
    )
    found = [(layer.name, layer.role) for layer in as_scales if layer.kind == "Scale"]
    assert (
        found
        == [(layer.name, "reformat") for layer in read(name) if layer.kind == "Reformat"]
        != []
    )


@pytest.mark.parametrize("name", DUMPS)
def test_the_profiler_calls_layers_as_the_inspector_does(name: str) -> None:
    """In an engine that tells its times in the order of its profile, every layer gets its own,
    once.
    """
    profile = DUMPS[name]["profile"]
    assert [told["name"] for told in profile] == [layer.name for layer in read(name)]

    class Session:
        trt = SimpleNamespace(IProfiler=object)

        def bind(self, feeds: object) -> None: ...

        def synchronize(self) -> None: ...

        def profiled(self, profiler: Any) -> Any:
            self.profiler = profiler
            return self

        def __enter__(self) -> None: ...

        def __exit__(self, *exit: object) -> None: ...

        def enqueue(self) -> None:
            for told in profile:
                self.profiler.report_layer_time(told["name"], told["averageMs"])

    session: Any = Session()
    assert layer_times(session, {}, runs=3) == times(name)


@pytest.mark.parametrize("name", DUMPS)
def test_shares_of_time_are_the_profilers_own(name: str) -> None:
    percent = {told["name"]: told["percentage"] / 100 for told in DUMPS[name]["profile"]}
    layers = read(name)
    found = judged(name, "fp32")
    for share in found.shares:
        mine = [
            layer
            for layer in layers
            if layer.role == "compute" and layer.precision == share.precision
        ]
        assert (share.layers, share.time) == (
            len(mine),
            pytest.approx(sum(percent[layer.name] for layer in mine), abs=2e-3),
        )
    assert found.reformat_time == pytest.approx(
        sum(percent[layer.name] for layer in layers if layer.role == "reformat"), abs=2e-3
    )
    assert sum(share.share for share in found.shares) == pytest.approx(1)


def test_a_time_without_a_layer_is_reported() -> None:
    layers = read("mobilenet.qat")
    found = audit(
        layers,
        "fp32",
        (),
        (),
        of="engine",
        excuse=None,
        times={**times("mobilenet.qat"), "stranger": 1.0},
    )
    assert found.notes == ("1 timed layers are not in the inspector's list: stranger",)
    assert judged("mobilenet.qat", "fp32").notes == ()


# ---- audits


@pytest.mark.parametrize("name", QAT)
def test_int8_engines_are_int8(name: str) -> None:
    layers = read(name)
    assert (
        len(products(layers)) == len({*products(layers)}) == sum(layer.matrix for layer in layers)
    )
    assert judged(name, "int8").failures == ()


@pytest.mark.parametrize("name", QAT)
def test_one_quantized_layer_that_is_not_int8_is_named(name: str) -> None:
    victim = products(read(name))[7]

    def widen(layer: dict[str, Any]) -> None:
        if victim in layer["Name"].split(" + "):
            layer["Weights"] = {"Type": "Half"}

    found = judged(name, "int8", read(name, widen))
    total = len(products(read(name)))
    assert found.failures == (
        f"1 of {total} layers that the graph quantizes do not compute in INT8: {victim} (fp16)",
    )


def test_fp16_engines_are_fp16() -> None:
    found = judged(f"{A100}/fp16", "fp16", excuse=None)
    assert (found.failures, found.notes) == ((), ())
    found = judged(f"{RTX_3090}/fp16", "fp16")
    assert (found.failures, found.notes) == (
        (),
        ("1 layers compute in FP32, by the builder's choice: resnet50/predictions/Softmax",),
    )


@pytest.mark.parametrize(("name", "products"), [(f"{A100}/fp32", 21), (f"{RTX_3090}/fp32", 54)])
def test_fp32_engines_are_no_fp16_and_no_int8(name: str, products: int) -> None:
    assert judged(name, "fp32").failures == ()
    assert judged(name, "fp16").failures[0] == "no layer computes in FP16"
    assert (
        judged(name, "fp16")
        .failures[1]
        .startswith(f"{products} layers compute in FP32 but should not: ")
    )
    assert (
        judged(name, "int8")
        .failures[0]
        .startswith(
            f"{products} of {products} layers that the graph quantizes do not compute in INT8: "
        )
    )
