"""The parity ladder: compares every graph of an export with one reference on the same images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edgekit.artifact import Artifact
from edgekit.comparison import Gate, Rung, compare
from edgekit.pipeline.calibration import ENOUGH_JUDGES
from edgekit.runtimes.base import ONE_THREAD, Array, run_all
from edgekit.runtimes.onnxruntime import OnnxRuntime


@dataclass
class Ladder:
    """The rungs so far, all compared with the same reference outputs on the same images.

    ``unseen`` are the places of the images that nothing was taken from and nothing chosen by; None
    where that is all of them.
    """

    images: NDArray[np.float32]
    expected: NDArray[np.float32]
    unseen: Sequence[int] | None = None
    rungs: list[Rung] = field(default_factory=list)

    def add_reference(self, name: str, seconds: float) -> None:
        self.rungs.append(
            Rung(name, "torch eager" if name == "torch" else "onnxruntime", seconds, None, None)
        )

    def add_rung(
        self,
        name: str,
        artifact: Artifact,
        seconds: float,
        gate: Gate,
        *,
        twin: Artifact | None = None,
        images: Array | None = None,
        unseen: bool = False,
    ) -> None:
        """Adds a rung: runs ``artifact``, or instead its ``twin``, and compares the outputs with
        the reference.

        All images are run, or only the ``unseen`` ones; fewer of these than ``ENOUGH_JUDGES`` can
        fail the rung, but not pass it. ``images`` are all of them as this graph takes them, where
        it takes others than the reference.
        """
        only = self.unseen if unseen else None
        given = self.images if images is None else images
        chosen = list(range(len(self.images)) if only is None else only)
        with OnnxRuntime().load(twin or artifact, ONE_THREAD) as session:
            outputs = run_all(session, given[chosen])
        parity = compare(self.expected[chosen], outputs)
        checked = "onnxruntime, every FP16 tensor rounded" if twin else "onnxruntime"
        judged = only is None or len(only) >= ENOUGH_JUDGES
        caveat = gate.caveat(parity) if judged else None
        self.rungs.append(
            Rung(
                name,
                checked,
                seconds,
                artifact.megabytes,
                parity,
                gate.failures(parity),
                caveat,
                judged,
            )
        )

    @property
    def passed(self) -> bool:
        return not any(rung.failures for rung in self.rungs)
