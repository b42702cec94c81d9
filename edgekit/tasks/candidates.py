"""The candidates of a bench: every bundle in every runtime, and PyTorch if the network can be built
again. Each has its parity.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgekit.artifact import TensorSpec
from edgekit.bundle import Bundle
from edgekit.bundle.folder import EXPORT_AGAIN
from edgekit.bundle.manifest import Manifest
from edgekit.bundle.proof import golden_failures
from edgekit.comparison import DEFAULT_GATES, Parity, compare
from edgekit.errors import BadBundle, BadWeights, EnvironmentLacks, InputError
from edgekit.runtimes import find, known, torch
from edgekit.runtimes.base import Array, Session, SessionOptions, batches, rows_of
from edgekit.tasks.sessions import CPU, open_session, require

TORCH = "torch"


@dataclass(frozen=True)
class Subject:
    """A bundle in a runtime, or its network in PyTorch in FP32."""

    name: str
    bundle: Bundle
    runtime: str

    @property
    def precision(self) -> str:
        return "fp32" if self.runtime == TORCH else self.bundle.manifest.precision


@dataclass(frozen=True)
class Candidate:
    """An open subject. ``failures`` are the requirements of the bundle that it misses; if there are
    any, no speed-up is reported.
    """

    subject: Subject
    session: Session
    images: Array
    parity: Parity
    failures: tuple[str, ...]


def open_bundles(paths: Sequence[Path]) -> list[Bundle]:
    """
    Raises: InputError: no bundle, or the same one twice. BadBundle: a bundle cannot be opened, or
    is damaged.
    """
    bundles = [Bundle.open(path) for path in paths]
    places = [bundle.path.resolve() for bundle in bundles]
    if twice := next((path for path in places if places.count(path) > 1), None):
        raise InputError(
            f"{twice} is given twice",
            hint="the first candidate is always compared with itself: see the noise floor",
        )
    for bundle in bundles:
        bundle.check_whole()
    return bundles


def common_batch(bundles: Sequence[Bundle], asked: int | None, *, several: bool = False) -> int:
    """The batch for all bundles: the requested one, else their static one, else 1. With
    ``several``, it is one of the batches of ``batch_sweep``.

    Raises:
        InputError: a graph has another static batch.
    """
    static = {
        bundle.path: size
        for bundle in bundles
        if isinstance(size := bundle.manifest.input.shape[0], int)
    }
    batch = asked or next(iter(static.values()), 1)
    for path, size in static.items():
        if size != batch:
            why = "which the others have"
            if asked:
                why = f"which `{'batch_sweep' if several else 'batch'}` requires"
            static_too = "" if several else f"`batch` {batch}, or with "
            raise InputError(
                f"{path} has a static batch of {size} and cannot run {batch} images at once, {why}",
                hint=f"export it with {static_too}`batch` dynamic",
            )
    return batch


def subjects(
    bundles: Sequence[Bundle], runtimes: Sequence[str]
) -> tuple[list[Subject], dict[str, str]]:
    """The subjects in the order of the runtimes, then of the bundles; and those that are skipped,
    with the reason.

    Raises:
        InputError: a runtime is unknown. EnvironmentLacks: a runtime cannot run here.
    """
    labels = _labels(bundles)
    chosen: list[Subject] = []
    left_out: dict[str, str] = {}
    for runtime in runtimes:
        if runtime == TORCH:
            found, left_out = _torch_subjects(bundles, labels)
            chosen += found
            continue
        if runtime not in known():
            raise InputError(
                f"unknown runtime {runtime!r}", hint=f"one of {', '.join((TORCH, *known()))}"
            )
        require(find(runtime))
        chosen += [
            Subject(f"{runtime} {labels[bundle.path]}", bundle, runtime) for bundle in bundles
        ]
    return chosen, left_out


def _torch_subjects(
    bundles: Sequence[Bundle], labels: Mapping[Path, str]
) -> tuple[list[Subject], dict[str, str]]:
    """One for each network, for any precision of its bundles."""
    state = torch.available()
    if not state.ok:
        raise EnvironmentLacks(f"torch cannot run here: {state.reason}", hint=state.install_hint)
    networks: dict[tuple[object, ...], Bundle] = {}
    left_out = {}
    for bundle in bundles:
        m = bundle.manifest
        if reason := _why_not_torch(m):
            left_out[f"torch {labels[bundle.path]}"] = reason
        else:
            networks.setdefault(
                (m.network.name, m.weights.sha256, m.weights.seed, m.input.height, m.input.width),
                bundle,
            )
    alone = len(networks) == 1
    return [
        Subject(TORCH if alone else f"torch {labels[bundle.path]}", bundle, TORCH)
        for bundle in networks.values()
    ], left_out


def open_candidate(
    subject: Subject, batch: int, options: SessionOptions, stack: ExitStack
) -> Candidate:
    """Opens a subject, runs it in batches of ``batch``, and compares with the bundle's golden
    outputs.

    Raises:
        EnvironmentLacks: the runtime cannot run here.
        BadNetwork: the runtime rejects the graph. WeightsUnavailable, BadWeights: for torch, the
            weights of the bundle cannot be loaded again.
    """
    bundle = subject.bundle
    golden = bundle.golden()
    session = stack.enter_context(open_subject(subject, batch, options))
    outputs = _outputs(session, golden.inputs, batch)
    if outputs.shape != golden.outputs.shape:
        raise BadBundle(
            f"{bundle.path} returns shape {outputs.shape}; its golden outputs are "
            f"{golden.outputs.shape}",
            hint=EXPORT_AGAIN,
        )
    parity = compare(golden.outputs, outputs)
    failures = (
        DEFAULT_GATES["fp32"].failures(parity)
        if subject.runtime == TORCH
        else golden_failures(parity, bundle.manifest, elsewhere=subject.runtime != CPU)
    )
    return Candidate(subject, session, golden.inputs, parity, failures)


def open_subject(subject: Subject, batch: int, options: SessionOptions) -> Session:
    """A session for batches of ``batch``; nothing is compared. It raises what
    :func:`open_candidate` does.
    """
    if subject.runtime == TORCH:
        return _open_torch(subject.bundle, options)
    return open_session(subject.bundle, subject.runtime, options, batch=batch)


def _outputs(session: Session, images: Array, batch: int) -> NDArray[np.float32]:
    spec, output = session.inputs[0], session.outputs[0].name
    spec = replace(spec, shape=(batch, *spec.shape[1:]))
    return np.concatenate(
        [
            rows_of(session.run({spec.name: feed})[output], count)
            for feed, count in batches(spec, images)
        ]
    ).astype(np.float32)


def _labels(bundles: Sequence[Bundle]) -> dict[Path, str]:
    """The labels of bundles: the precision if it is unique, else the folder's name, or the whole
    path if names repeat.
    """
    if len(bundles) == 1:
        return {bundles[0].path: bundles[0].manifest.precision}
    names = [bundle.path.resolve().name for bundle in bundles]
    return {
        bundle.path: name if names.count(name) == 1 else str(bundle.path)
        for bundle, name in zip(bundles, names, strict=True)
    }


def _why_not_torch(manifest: Manifest) -> str | None:
    """Why the network of a bundle cannot be built in PyTorch again; None if it can, according to
    the manifest.
    """
    network, weights = manifest.network, manifest.weights
    if network.origin != "zoo":
        return (
            f"{network.name} is not from the zoo ({network.origin}), so PyTorch cannot rebuild it "
            f"from the bundle"
        )
    if weights.source not in ("pretrained", "random"):
        return f"its weights came from {weights.file or weights.source}, which is not in the bundle"
    return None


def _open_torch(bundle: Bundle, options: SessionOptions) -> Session:
    """The network of a bundle in PyTorch, with the weights that the manifest names, on the images
    that the bundle takes.
    """
    from edgekit.runtimes.torch import TorchSession, taking_pixels
    from edgekit.sources import NetworkRequest, open_network

    m = bundle.manifest
    weights = f"random:{m.weights.seed}" if m.weights.source == "random" else "pretrained"
    network = open_network(NetworkRequest(m.network.name, weights, (m.input.height, m.input.width)))
    if network.weights.sha256 != m.weights.sha256:
        raise BadWeights(
            f"{m.network.name} now has other weights than those of {bundle.path}",
            hint="export it again, or remove torch from `runtime`",
        )
    module, spec = network.module, m.input.spec()
    assert module is not None
    shape = ("batch", *m.input.shape[1:])
    return TorchSession(
        taking_pixels(module, spec) if spec.uint8 else module,
        TensorSpec(m.input.name, shape, "uint8" if spec.uint8 else "float32"),
        TensorSpec(m.output.name, ("batch", m.output.classes), "float32"),
        options,
    )
