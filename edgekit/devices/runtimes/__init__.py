"""The ways to run a bundle on a device, one file or package each. To add one, add a file and a line
here.
"""

from __future__ import annotations

from edgekit.devices.book import RuntimeName
from edgekit.devices.runtimes.base import DeviceRuntime, Proof, Release
from edgekit.devices.runtimes.options import Options

__all__ = ["DeviceRuntime", "Options", "Proof", "Release", "find"]


def find(name: RuntimeName) -> DeviceRuntime:
    from edgekit.devices.runtimes.onnxruntime import OnnxRuntimeDevice
    from edgekit.devices.runtimes.trtexec.device import TrtExecDevice

    runtimes: dict[str, DeviceRuntime] = {
        runtime.name: runtime for runtime in (TrtExecDevice(), OnnxRuntimeDevice())
    }
    return runtimes[name]
