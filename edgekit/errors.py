"""Every error that edgekit raises on purpose, drawn as one tree.

EdgekitError
├── GateFailed (1)          a gate was not met: parity, accuracy, latency, precision audit
├── InputError (2)          what the user gave is wrong
│   ├── UnknownNetwork
│   ├── BadNetwork              a factory or graph that edgekit cannot take
│   ├── BadWeights
│   ├── BadImage
│   └── BadBundle
└── EnvironmentLacks (3)    an extra, a GPU, the network or the device is missing
    └── WeightsUnavailable

The number is the exit code of the command line. What Python or the operating system raises because
this machine lacks something is translated by :func:`lacking`; anything else that escapes is a bug
of ours (70).
"""

from __future__ import annotations

import errno
from contextlib import suppress
from pathlib import PurePath

NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_REFUSED = NO_SPACE | {
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.EIO,
    errno.EMFILE,
    errno.ENFILE,
    errno.ENOMEM,
}
# The user gave a name that is not a file or folder, or that no file can have.
_MISNAMED = frozenset({errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR, errno.EISDIR})
_NO_MEMORY = ("can't allocate memory", "failed to map segment from shared object")
_EXTRAS = {
    **dict.fromkeys(
        ("torch", "onnx", "onnx_ir", "onnxscript", "onnxsim", "ml_dtypes", "safetensors"), "export"
    ),
    "onnxruntime": "cpu",
    **dict.fromkeys(("lightning_fabric", "kornia"), "train"),
    **dict.fromkeys(("matplotlib", "jinja2", "markupsafe"), "report"),
    "mlperf_loadgen": "loadgen",
    "tensorrt": "gpu",
    "cuda": "gpu",
    "tensorrt_rtx": "rtx",
    "ray": "ray",
}


class EdgekitError(Exception):
    """An expected failure: a message, and a hint that says what to do. Each class has a default
    hint.

    ``trail`` has the names of the failed step and the steps before it.
    """

    exit_code = 70
    default_hint: str | None = None

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint if hint is not None else self.default_hint
        self.trail: str | None = None


class GateFailed(EdgekitError):
    exit_code = 1


class InputError(EdgekitError):
    exit_code = 2


class UnknownNetwork(InputError):
    pass


class BadNetwork(InputError):
    default_hint = (
        "edgekit takes FP32 classifiers: one image in, one tensor of scores (images, classes) out"
    )


class BadWeights(InputError):
    pass


class BadImage(InputError):
    default_hint = "photos of 8 × 8 pixels to 178 megapixels, in a format that Pillow reads"


class BadBundle(InputError):
    pass


class EnvironmentLacks(EdgekitError):
    exit_code = 3


class WeightsUnavailable(EnvironmentLacks):
    pass


def lacking(error: BaseException) -> EnvironmentLacks | None:
    """The error to raise if ``error`` of Python or the operating system means that this machine
    lacks something; else None.
    """
    if isinstance(error, ImportError) and not out_of_memory(error):
        package = _package_of(error)
        if package is None:
            return None
        what = (
            "is not installed"
            if isinstance(error, ModuleNotFoundError)
            else f"cannot be imported: {error}"
        )
        return EnvironmentLacks(
            f"this needs {package}, which {what}", hint=f"pip install 'edgekit[{_EXTRAS[package]}]'"
        )
    if out_of_memory(error):
        return EnvironmentLacks(
            "there is not enough memory", hint="use a smaller `size` or `batch`, or fewer `images`"
        )
    if isinstance(error, OSError) and error.errno in _REFUSED:
        where = f"{error.filename}: " if error.filename is not None else ""
        return EnvironmentLacks(f"{where}{error.strerror}", hint=_remedy(error))
    return None


def _package_of(error: ImportError) -> str | None:
    """The package of an extra that an import failed of. A library of a package, such as ``torch/
    _C.so``, is named alone, so that its package is in its path.
    """
    path = PurePath(error.path or "")
    names = path.parts if path.suffix in (".so", ".pyd") else ()
    own = (error.name or "").partition(".")[0]
    return next((name for name in (own, *reversed(names)) if name in _EXTRAS), None)


def _remedy(error: OSError) -> str | None:
    if error.errno in NO_SPACE:
        return "free some space"
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return "allow more open files, for example with ulimit -n 1024"
    if error.errno == errno.EIO:
        return "check the disk"
    return "choose another place" if error.filename is not None else None


def mistaken(error: BaseException) -> InputError | None:
    """The error to raise if ``error`` of the operating system means that the user gave a name that
    no file can have; else None.
    """
    if isinstance(error, OSError) and error.errno in _MISNAMED and error.filename is not None:
        return InputError(f"{error.filename}: {error.strerror}", hint="check the name")
    return None


def out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, as reported by Python, by torch or by the loader of libraries."""
    return isinstance(error, MemoryError) or any(text in said(error) for text in _NO_MEMORY)


def said(error: BaseException) -> str:
    """An exception in one line: its type, and the first line of its message. The message of other
    people's exceptions may itself fail.
    """
    message = ""
    with suppress(Exception):
        message = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {message}" if message else type(error).__name__
