"""Exports an ``nn.Module`` to an FP32 graph with the module's names."""

from __future__ import annotations

import contextlib
import gc
import io
import logging
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import onnx_ir as ir

from edgekit.artifact import Artifact
from edgekit.errors import BadNetwork, said
from edgekit.graph import names
from edgekit.graph.io import save
from edgekit.limits import timed

if TYPE_CHECKING:
    from torch import nn

INPUT_NAME = "input"
OUTPUT_NAME = "logits"
NATIVE_OPSET = 18  # the exporter's default; a later step converts to other opsets


@dataclass(frozen=True)
class TraceConfig:
    """``shape`` is the input shape of one image, without the batch. ``batch`` is None for a dynamic
    batch.
    """

    shape: tuple[int, ...]
    batch: int | None = 1


def trace(module: nn.Module, path: Path, config: TraceConfig) -> Artifact:
    """Exports a classifier in evaluation mode. Batch norms are folded, the input is ``input``, the
    output ``logits``, and nodes are named after their module.

    Raises:
        BadNetwork: torch.export cannot capture the module, it does not have exactly one input and
            one output, or it fixes a batch that should be dynamic.
    """
    import torch

    example = torch.zeros((config.batch or 2, *config.shape))
    dynamic = None if config.batch else ({0: torch.export.Dim("batch", min=1, max=1024)},)
    with (
        _silence(),
        _without_collection(),
        timed(f"{type(module).__name__}, while it was traced,"),
    ):
        try:
            program = torch.onnx.export(
                module.eval(),
                (example,),
                dynamo=True,
                input_names=[INPUT_NAME],
                output_names=[OUTPUT_NAME],
                dynamic_shapes=dynamic,
                opset_version=NATIVE_OPSET,
                verbose=False,
            )
        except (Exception, SystemExit) as error:
            hint = (
                "try `batch` 1, or remove data-dependent control flow from forward()"
                if dynamic
                else None
            )
            raise BadNetwork(
                f"{type(module).__name__} cannot be exported: {_root_cause(error)}", hint=hint
            ) from error
    assert program is not None
    model = program.model
    _check_interface(model, config.batch)
    names.from_module_paths(model)
    model.producer_name, model.producer_version = "edgekit", None
    return save(model, path, "fp32")


def _check_interface(model: ir.Model, batch: int | None) -> None:
    inputs = [value.name for value in model.graph.inputs]
    outputs = [value.name for value in model.graph.outputs]
    if inputs != [INPUT_NAME] or outputs != [OUTPUT_NAME]:
        raise BadNetwork(
            f"a classifier has one input and one output; this network has {len(inputs)} and "
            f"{len(outputs)}"
        )
    shape = model.graph.inputs[0].shape
    if batch is None and shape is not None and isinstance(shape[0], int):
        raise BadNetwork(
            "the network's forward() fixes the batch",
            hint="try `batch` 1, or take the batch from the input's shape",
        )


@contextlib.contextmanager
def _without_collection() -> Iterator[None]:
    """Switches the search for cycles of objects off. During a trace, which makes many objects and
    keeps them, it takes a tenth of the time and finds next to nothing.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Hides the exporter's progress lines, logging and deprecation warnings. Errors are still
    raised.
    """
    level = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


def _root_cause(error: BaseException) -> str:
    seen = {error}
    while (
        error.__cause__ is not None and error.__cause__ not in seen
    ):  # `raise error from error` makes a cycle
        error = error.__cause__
        seen.add(error)
    return said(error)
