"""The INT8 graph, and its forms for CPUs and for strongly typed TensorRT."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from edgekit.advice import Advice
from edgekit.bundle.manifest import CalibrationEntry, KeptEntry
from edgekit.comparison import Gate
from edgekit.pipeline.calibration import ENOUGH_JUDGES
from edgekit.pipeline.converted import RANGE_IMAGES, Context, Converted
from edgekit.pipeline.precision import Int8

if TYPE_CHECKING:
    from edgekit.graph.forms.fp16 import Fp16Config
    from edgekit.quantization.config import QuantizeConfig, QuantizeReport


def quantize(given: Converted, config: QuantizeConfig, context: Context) -> Converted:
    """The INT8 graph for TensorRT 8, with the layers that stay float and the reasons.

    Layers return to float until the gate is met on the selection photos. If it cannot be met within
    the limits, the best graph is returned with a warning; the test photos then decide.
    """
    from edgekit.graph.forms.float_weights import write_float_weights
    from edgekit.quantization.config import GateNotMet
    from edgekit.quantization.pipeline import quantize as quantize_graph

    images = context.calibration
    assert images is not None and given.simplified is not None
    config = replace(config, trained=context.network.trained)
    missed = []
    try:
        result = quantize_graph(
            given.simplified,
            context.folder / "int8.onnx",
            config,
            images,
            images.choosing_images,
            key=images.key,
            progress=context.progress,
        )
    except GateNotMet as error:
        result = error.result
        missed = [
            Advice(
                error.message, "give more photos like those the network will see, or relax `gate`"
            )
        ]
    report = result.report
    entry = CalibrationEntry(
        calibrator=report.calibrator,
        rounding="training" if config.trained else config.rounding,
        recovery=None if config.recover is None else config.recover / 60,
        images=images.entry,
        random=images.random,
        choosing=images.choosing,
        judging=images.judging,
        judged=len(images.judging_images) >= ENOUGH_JUDGES,
        sqnr=report.reached.sqnr,
        agreement=report.reached.agreement,
    )
    advice = [*missed, *images.advice, *map(Advice, report.notes)]
    if report.unknown_operators:
        advice.append(
            Advice(
                f"operators without an INT8 rule stay float: {', '.join(report.unknown_operators)}"
            )
        )
    model = write_float_weights(result.artifact, context.folder / "int8.float.onnx")
    graph = context.with_input(model)
    return replace(
        given,
        graph=graph,
        twin=None,
        codes=result.artifact,
        kept=(*_kept(report), *context.kept_by_input(graph)),
        calibration=entry,
        quantization=report,
        advice=(*given.advice, *advice),
    )


def to_cpu_int8(given: Converted, config: None, context: Context) -> Converted:
    """The form of an INT8 graph that CPU kernels run fast."""
    from edgekit.graph.forms.cpu_int8 import to_cpu_int8

    assert given.codes is not None
    graph = to_cpu_int8(given.codes, context.folder / "int8.cpu.onnx")
    return replace(given, graph=context.with_input(graph))


def to_strongly_typed(given: Converted, config: Fp16Config, context: Context) -> Converted:
    """The form of an INT8 graph for strongly typed TensorRT, with its other parts in FP16, and its
    twin, which shows on a CPU the effect of FP16 storage.
    """
    from edgekit.graph.forms.fp16 import rounding_twin
    from edgekit.graph.forms.strongly_typed import to_strongly_typed as strongly_typed_graph
    from edgekit.graph.observe import observe

    assert given.codes is not None and context.calibration is not None
    images = np.stack(list(islice(context.calibration, RANGE_IMAGES)))
    path = context.folder / "int8.strong.onnx"
    result = strongly_typed_graph(given.codes, path, config, observe(given.codes, images))
    twin = rounding_twin(result.artifact, context.folder / "int8.twin.onnx")
    kept = [
        KeptEntry(
            name=k.name,
            op_type=k.op_type,
            precision="fp32",
            reason=f"FP32 in the strongly typed form: {k.reason}",
        )
        for k in result.kept
    ]
    return replace(
        given,
        graph=context.with_input(result.artifact),
        twin=context.with_input(twin),
        kept=(*given.kept, *kept),
    )


def _kept(report: QuantizeReport) -> tuple[KeptEntry, ...]:
    by_rule = [
        KeptEntry(name=name, op_type="", precision="float", reason=reason)
        for name, reason in report.float_by_rule.items()
    ]
    by_accuracy = [
        KeptEntry(
            name=k.layer,
            op_type="",
            precision="float",
            reason=f"kept for accuracy: {k.gain:+.1f} dB, expected agreement {100 * k.rise:+.1f} "
            f"points, for {k.macs_share:.1%} of the MACs",
        )
        for k in report.fallback.kept
    ]
    return (*by_rule, *by_accuracy)


def quantize_config(precision: Int8, gate: Gate) -> QuantizeConfig:
    """The configuration of the quantizer. Its statistics are cached next to the weights."""
    from edgekit.models.pretrained.download import cache_folder
    from edgekit.quantization.config import QuantizeConfig
    from edgekit.quantization.mixed import Requirement

    required = Requirement(agreement=gate.agreement or 0.0, sqnr=gate.sqnr or 0.0)
    return QuantizeConfig(
        calibrator=precision.calibrator,
        rounding=precision.rounding,
        recover=None if precision.recover is None else 60 * precision.recover,
        gate=required,
        cache=cache_folder().parent / "calibration",
    )
