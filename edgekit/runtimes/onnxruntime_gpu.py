"""ONNX Runtime on an NVIDIA GPU, through its CUDA or its TensorRT provider.

By default ONNX Runtime falls back to the CPU silently if a provider cannot be loaded or does not
support a node. Here both are errors.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.artifact import Artifact
from edgekit.errors import BadNetwork, EnvironmentLacks
from edgekit.machine.driver import no_gpu
from edgekit.machine.elf import needed
from edgekit.machine.libraries import Libraries
from edgekit.runtimes.base import Array, Availability, SessionOptions
from edgekit.runtimes.onnxruntime import OnnxRuntimeSession, first_line
from edgekit.version import installed_version

if TYPE_CHECKING:
    import onnxruntime

INSTALL_HINT = "pip install 'edgekit[gpu]'"
NO_FALLBACK = "session.disable_cpu_ep_fallback"  # onnxruntime_session_options_config_keys.h
# Texts in onnxruntime's errors: a node was left to the CPU, or the provider's libraries could not
# be loaded.
_NOT_ALL_NODES, _NOT_LOADED = (
    "fallback to CPU EP has been explicitly disabled",
    "GPU requirements page",
)
_NVIDIA = ("libcu", "libnv")


@dataclass(frozen=True)
class OnnxRuntimeGpu:
    """One execution provider: its name in onnxruntime, and its library file in the package."""

    name: str
    provider: str
    library: str

    def available(self) -> Availability:
        """Checks the files and the driver. Does not create a CUDA context and does not import
        onnxruntime.
        """
        package = find_spec("onnxruntime")
        if package is None or not package.submodule_search_locations:
            return Availability(
                False, reason="onnxruntime is not installed", install_hint=INSTALL_HINT
            )
        version = installed_version("onnxruntime-gpu", "onnxruntime")
        file = self._file(Path(package.submodule_search_locations[0]))
        if file is None:
            return Availability(
                False,
                version,
                f"the onnxruntime installed here has no {self.provider}",
                "pip uninstall onnxruntime, then pip install --force-reinstall onnxruntime-gpu: "
                "both install the same module, and the last one installed is used",
            )
        if problem := no_gpu():
            return Availability(
                False, version, problem, "use a machine with an NVIDIA GPU and its driver"
            )
        libraries = [
            name
            for name in needed(file)
            if name.startswith(_NVIDIA) and not name.startswith("libcuda.")
        ]
        if missing := Libraries().missing(libraries):
            return Availability(
                False,
                version,
                f"{self.provider} needs {', '.join(missing)}, not found here",
                _hint_for(missing),
            )
        return Availability(True, version)

    def load(self, artifact: Artifact, options: SessionOptions) -> OnnxRuntimeGpuSession:
        """Opens an ONNX file and runs every node on the GPU.

        Raises:
            EnvironmentLacks: the provider cannot be used here, or does not support the whole graph.
                The message says what was found.
            BadNetwork: onnxruntime rejects the graph; the message quotes it.
        """
        state = self.available()
        if not state.ok:
            raise EnvironmentLacks(
                f"{self.name} cannot run here: {state.reason}", hint=state.install_hint
            )
        import onnxruntime as ort

        _preload(ort)
        settings = ort.SessionOptions()
        settings.log_severity_level = 4
        settings.add_session_config_entry(NO_FALLBACK, "1")
        chosen = [(self.provider, self.options(artifact))]
        try:
            session = ort.InferenceSession(
                str(artifact.path), settings, providers=chosen, enable_fallback=0
            )
        except Exception as error:
            if _NOT_ALL_NODES in str(error) or _NOT_LOADED in str(error):
                raise EnvironmentLacks(
                    f"{self.provider} does not support every node of {artifact.path.name}, or "
                    f"could not be loaded; the other nodes would run on the CPU",
                    hint="`edgekit doctor` says what it needs; `runtime` onnxruntime runs the "
                    "bundle on the CPU on purpose",
                ) from error
            raise BadNetwork(
                f"onnxruntime cannot load {artifact.path.name} on {self.provider}: "
                f"{first_line(error)}"
            ) from error
        found = session.get_providers()
        if found[:1] != [self.provider]:
            raise EnvironmentLacks(
                f"{self.name} was requested, but onnxruntime fell back to {', '.join(found)}",
                hint="the CUDA, cuDNN or TensorRT libraries that it needs are missing here; "
                "`edgekit doctor` names them",
            )
        return OnnxRuntimeGpuSession(session)

    def options(self, artifact: Artifact) -> dict[str, str]:
        """The provider's options for a graph: FP32 stays FP32 (no TF32), and TensorRT may use the
        precisions of the graph.
        """
        if self.provider == "CUDAExecutionProvider":
            return {"use_tf32": "0"}
        half = artifact.precision != "fp32"
        return {
            "trt_fp16_enable": str(int(half)),
            "trt_int8_enable": str(int(artifact.precision == "int8")),
        }

    def _file(self, package: Path) -> Path | None:
        for name in (f"lib{self.library}.so", f"{self.library}.dll"):
            if (package / "capi" / name).is_file():
                return package / "capi" / name
        return None


ONNXRUNTIME_CUDA = OnnxRuntimeGpu(
    "onnxruntime-cuda", "CUDAExecutionProvider", "onnxruntime_providers_cuda"
)
ONNXRUNTIME_TENSORRT = OnnxRuntimeGpu(
    "onnxruntime-tensorrt", "TensorrtExecutionProvider", "onnxruntime_providers_tensorrt"
)


class OnnxRuntimeGpuSession(OnnxRuntimeSession):
    """``run`` copies the inputs to the device, runs, and copies the outputs back. ``bind`` puts the
    inputs on the device once, so ``enqueue`` and ``synchronize`` copy nothing.
    """

    on_device = True

    def __init__(self, session: onnxruntime.InferenceSession, device: str = "cuda") -> None:
        super().__init__(session)
        self._device = device
        self._binding: Any = None
        self._unsynchronized: Any = None

    def bind(self, feeds: Mapping[str, Array]) -> None:
        import onnxruntime as ort

        self._binding = self._session.io_binding()
        for name, array in feeds.items():
            self._binding.bind_ortvalue_input(
                name, ort.OrtValue.ortvalue_from_numpy(array, self._device, 0)
            )
        for spec in self.outputs:
            self._binding.bind_output(spec.name, self._device)
        self._unsynchronized = ort.RunOptions()
        self._unsynchronized.add_run_config_entry("disable_synchronize_execution_providers", "1")
        self._binding.synchronize_inputs()

    def enqueue(self) -> None:
        self._session.run_with_iobinding(self._binding, self._unsynchronized)

    def synchronize(self) -> None:
        self._binding.synchronize_outputs()


def _preload(ort: Any) -> None:
    """Loads the CUDA libraries that pip installed (onnxruntime 1.21 and later). What it prints
    about missing libraries is dropped; the errors of ``load`` are clearer.
    """
    if hasattr(ort, "preload_dlls"):
        with redirect_stdout(StringIO()):
            ort.preload_dlls()


def _hint_for(missing: tuple[str, ...]) -> str:
    tensorrt = [name for name in missing if name.startswith(("libnvinfer", "libnvonnxparser"))]
    hints = (
        [f"install the TensorRT version of this onnxruntime: it loads {tensorrt[0]}"]
        if tensorrt
        else []
    )
    if len(tensorrt) < len(missing):
        hints.append(
            "pip install 'onnxruntime-gpu[cuda,cudnn]' installs the CUDA and cuDNN that it needs"
        )
    return "; ".join(hints)
