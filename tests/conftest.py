"""Fixtures that every test shares, and the shim that lets torchvision import beside a CPU build of
torch.
"""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from edgekit.calib import photos as bundled_photos
from edgekit.pipeline.export import ExportRequest, export
from edgekit.pipeline.precision import Int8
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
