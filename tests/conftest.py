"""Fixtures that every test shares, and the shim that lets torchvision import beside a CPU build of
torch.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import signal
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from edgekit.bundle import names
from edgekit.bundle.engines import EngineRecord, GoldenCheck, Options
from edgekit.calib import photos as bundled_photos
from edgekit.pipeline.export import ExportRequest, export
from edgekit.pipeline.precision import Int8
from edgekit.runtimes.tensorrt.inspection.layers import EngineLayer, EngineTensor, LayerPrecision
from edgekit.sources import NetworkRequest

# A suite started in the background inherits signals that are ignored, and so would the processes
# that tests interrupt.
for _number, _handler in (
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGHUP, signal.SIG_DFL),
):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, _handler)

# torchvision registers Python meta kernels for these operators at import; its own library, which
# defines them, needs CUDA. Defining them first lets the models and transforms import; calling
# either operator still fails, and nothing here does.
_TORCHVISION_OPS = torch.library.Library("torchvision", "FRAGMENT")
for _name in ("nms", "qnms"):
    _TORCHVISION_OPS.define(f"{_name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

torch.set_num_threads(1)


# Files that share a costly session fixture; one worker runs all files of a set.
SHARING = (
    {"tests/cli/bench/test_bench.py", "tests/cli/bench/test_engines.py"},
    {
        "tests/cli/engines/test_ahead_of_time.py",
        "tests/cli/engines/test_export_build.py",
        "tests/cli/engines/test_on_gpu.py",
    },
    {"tests/layerwise/test_blame.py", "tests/layerwise/test_blame_precisions.py"},
    {"tests/zoo/test_export.py", "tests/zoo/test_int8.py", "tests/zoo/test_int8_outputs.py"},
)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """The tests of a file share a worker and so its fixtures; files of ``SHARING`` share them too.

    Marks of xdist_group would say the same, but xdist 3.8 sets a private name that pytest 9.2 no
    longer has, and ignores them.
    """
    from xdist.scheduler import LoadFileScheduling

    class BySharing(LoadFileScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            path: str = super()._split_scope(nodeid)
            return next((min(files) for files in SHARING if path in files), path)

    return BySharing(config, log)


@pytest.fixture(scope="session", autouse=True)
def _data_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test adds to the history of benches of the user who runs it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("data")))
        yield


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with six real photos."""
    folder = tmp_path_factory.mktemp("photos")
    for photo in bundled_photos()[:6]:
        shutil.copy(photo, folder)
    return folder


@pytest.fixture(scope="session")
def lenet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """LeNet-5 with its weights in INT8: every file that a bundle can have."""
    folder = tmp_path_factory.mktemp("lenet") / "bundle"
    request = ExportRequest(NetworkRequest("lenet5"), Int8(rounding="nearest"), folder, bench=False)
    assert export(request).failures == ()
    return folder


FORMATS: Mapping[LayerPrecision, str] = {
    "int8": "Thirty-two wide channel vectorized row major Int8 format",
    "fp16": "Row major linear FP16 format",
    "fp32": "Row major linear FP32",
}
NoteEngine = Callable[..., Path]


@pytest.fixture(scope="session")
def note_engine() -> NoteEngine:
    """Puts into a bundle an engine as ``edgekit build`` does: a file that no library opens here,
    and what the build noted of it.
    """

    def note(
        bundle: Path,
        layers: Mapping[str, LayerPrecision],
        *,
        version: str = "10.3.0",
        size: int = 1000,
        golden: GoldenCheck | None = None,
        graph: str = names.STRONG_MODEL,
        profiles: tuple[tuple[int, int, int], ...] = ((1, 1, 1),),
    ) -> Path:
        """
        Args:
            layers: the precision of each node, all of them convolutions or products; those that
                are not ``fp32`` are what the graph quantizes.
        """
        manifest = json.loads((bundle / names.MANIFEST).read_text())
        digest = hashlib.sha256(f"{version} {size}".encode()).hexdigest()
        name = names.engine_name("tensorrt", version, "sm87", "int8", digest, digest)
        content = b"e" * size
        record = EngineRecord(
            runtime="tensorrt",
            version=version,
            dialect="strong",
            sm="sm87",
            gpu="Orin",
            precision="int8",
            graph=graph,
            graph_sha256=manifest["files"][graph]["sha256"],
            options=Options(),
            profiles=profiles,
            sha256=hashlib.sha256(content).hexdigest(),
            bytes=size,
            layers_of="engine",
            layers=tuple(
                EngineLayer(
                    f"{node} + relu",
                    "CaskConvolution",
                    (EngineTensor("in", (1, 8, 4, 4), FORMATS[precision]),),
                    (EngineTensor("out", (1, 8, 4, 4), FORMATS[precision]),),
                    precision,
                    onnx_layers=(node,),
                    matrix=True,
                )
                for node, precision in layers.items()
            ),
            quantized=tuple(layers),
            golden=golden,
        )
        path = bundle / names.ENGINES / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        path.with_suffix(names.RECORD).write_text(record.model_dump_json())
        for file in (path, path.with_suffix(names.RECORD)):
            manifest["files"][file.relative_to(bundle).as_posix()] = {
                "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
                "bytes": file.stat().st_size,
            }
        (bundle / names.MANIFEST).write_text(json.dumps(manifest))
        return path

    return note
