"""Which package is there, for which GPU: found by asking, and every lack named."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from edgekit.runtimes.tensorrt import TENSORRT_RTX, has_gpu

needs_rtx = pytest.mark.skipif(find_spec("tensorrt_rtx") is None, reason="tensorrt_rtx is not installed: pip install 'edgekit[rtx]'")
needs_no_gpu = pytest.mark.skipif(has_gpu(), reason="there is a GPU here")


@needs_no_gpu
@needs_rtx
def test_without_a_gpu_it_builds_and_does_not_run():
    found = TENSORRT_RTX.available()
    assert not found.ok
    assert (found.reason or "").startswith("builds engines here; running one needs an NVIDIA GPU (")
    assert found.version and found.install_hint == "use a machine with a GPU and its driver"
