"""Values from the middle of an engine: each chunk of them is an engine of its own, in which they are outputs.

A value that is an output has to be written in the type that the network gives it, so that the library cannot fuse the layers around it as it does in the
engine that ships. Debug tensors (10.12 and newer) would leave fusion alone, but tell the library's internal names only, and not those that it fused.
"""

from __future__ import annotations

from pathlib import Path

from edgekit.artifact import Artifact
from edgekit.runtimes.base import Availability, Session, SessionOptions
from edgekit.runtimes.tensorrt.builder import Builder
from edgekit.runtimes.tensorrt.config import BuildConfig

CAUTION = "to read values out of an engine they are marked as outputs, which changes what TensorRT fuses: the engine that ships may round elsewhere"


class MarkedEngines:
    """A runtime for graphs whose chosen values are outputs already: it builds an engine of each and opens that.

    ``batch`` is what a graph of dynamic batch is built for.
    """

    def __init__(self, builder: Builder, folder: Path, batch: int = 1) -> None:
        self._builder, self._folder, self._batch = builder, folder, batch
        self.name = builder.name

    def available(self) -> Availability:
        return self._builder.available()

    def load(self, artifact: Artifact, options: SessionOptions) -> Session:
        """
        Raises:
            EdgekitError: as :meth:`edgekit.runtimes.tensorrt.builder.Builder.build` and ``load``.
        """
        dynamic = any(not isinstance(spec.shape[0], int) for spec in artifact.inputs)
        config = BuildConfig(profiles=((self._batch, self._batch, self._batch),) if dynamic else ())
        path = self._folder / "tapped.engine"
        try:
            return self._builder.load(self._builder.build(artifact, path, config), options)
        finally:
            path.unlink(missing_ok=True)
