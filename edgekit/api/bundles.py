"""A bundle for users: open, verify, build for a device, run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.bundle import folder
from edgekit.progress import Progress, Quiet

if TYPE_CHECKING:
    from edgekit.runtimes.tensorrt import BuildConfig
    from edgekit.tasks.build import Built
    from edgekit.tasks.classify import Classified, Guess
    from edgekit.tasks.pack import Backend, Kind, Packed
    from edgekit.tasks.verify import Verification


@dataclass(frozen=True)
class Bundle(folder.Bundle):
    """The folder that an export wrote: graphs, labels, manifest, and golden images to check a copy.

    ``path`` is the folder, ``manifest`` its description. Get one from
    :func:`edgekit.export`, or by ``Bundle.open(Path("build/mobilenetv2-int8"))``.
    """

    def verify(self, runtime: str = "onnxruntime") -> Verification:
        """Checks every file's hash, then parity on the golden images, computed by ``runtime``.

        Returns:
            The result; ``ok`` is True if everything is as exported.

        Raises:
            BadBundle: the golden file cannot be read although its hash is right.
            InputError: no such runtime.
            EnvironmentLacks: that runtime cannot run here.
        """
        from edgekit.tasks.verify import verify

        return verify(self, runtime)

    def build(
        self,
        runtime: str | None = None,
        config: BuildConfig | None = None,
        *,
        force: bool = False,
        progress: Progress | None = None,
    ) -> Built:
        """Builds an engine into the bundle's ``engines/``. Its precision is audited, and if this
        machine has its GPU, it is checked on the golden images. An existing engine is used, unless
        ``force`` is given.

        Args:
            runtime: ``tensorrt`` (builds on this machine's GPU) or ``tensorrt-rtx`` (needs no GPU);
                by default the one that this machine can run.
            config: batch, workspace, DLA and more; see
                :class:`edgekit.runtimes.tensorrt.BuildConfig`.

        Raises:
            GateFailed: the engine does not have the precision of the bundle, or misses its gate; it
                is not kept.
            EnvironmentLacks: this machine cannot build an engine.
            InputError: the runtime is unknown, or cannot build this config.
            BadBundle: the bundle is damaged.
        """
        from edgekit.runtimes.tensorrt import BuildConfig
        from edgekit.tasks.build import build
        from edgekit.tasks.builders import builder_for, timing_folder

        chosen = config or BuildConfig(timing_cache=timing_folder())
        builder = builder_for(runtime, chosen.capability)
        show = progress or Quiet()
        with show.step("build"):
            return build(self, builder, chosen, force=force, on_phase=show.advance)

    def pack(
        self,
        kind: Kind,
        out: Path | str,
        *,
        backend: Backend | None = None,
        batch: int | None = None,
    ) -> Packed:
        """Writes the bundle in the format of a framework for devices, into a new folder.

        Args:
            kind: ``triton``, a model repository; ``deepstream``, a configuration of Gst-nvinfer
                with its graph and labels; or ``tar``, one file whose bytes depend only on the
                bundle.
            out: the folder; it must be new or empty.
            backend: for Triton: ``onnxruntime`` (default), or ``tensorrt``, which uses the bundle's
                engine.
            batch: the largest batch, if the batch is dynamic; 8 by default.

        Raises:
            BadBundle: the bundle is damaged, has random weights, or missed its gate.
            InputError: the folder is not empty, or this bundle cannot be packed like this.
            GateFailed: the outputs of the graph for DeepStream differ from those of the bundle.
            EnvironmentLacks: a package that makes or checks that graph is not installed.
        """
        from edgekit.tasks.pack import PackRequest, pack

        return pack(PackRequest(self.path, kind, Path(out), backend, batch))

    def classify(
        self, photo: Path | str, *, top: int = 5, runtime: str = "onnxruntime"
    ) -> tuple[Guess, ...]:
        """The ``top`` best classes of a photo, best first; raises as :meth:`classify_all`."""
        (found,) = self.classify_all([photo], top=top, runtime=runtime)
        return found.classes

    def classify_all(
        self, photos: Sequence[Path | str], *, top: int = 5, runtime: str = "onnxruntime"
    ) -> list[Classified]:
        """The ``top`` most likely classes of each photo, with the bundle's own preprocessing.

        Raises:
            BadImage: a photo cannot be read; then nothing is classified.
            BadBundle: a file differs from the export.
            InputError: no such runtime, or ``top`` is below 1.
            EnvironmentLacks: that runtime cannot run here.
        """
        from edgekit.tasks.classify import classify

        return classify(self, [Path(photo) for photo in photos], top, runtime)
