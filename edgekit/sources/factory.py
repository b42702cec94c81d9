"""The user's own ``file.py:factory``: imports the file, calls the function, and reports its errors
as the user's.
"""

from __future__ import annotations

import importlib.util
import re
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.bundle.manifest import NetworkEntry, WeightsEntry
from edgekit.errors import BadNetwork, InputError, said
from edgekit.files import check_readable
from edgekit.limits import blaming, timed
from edgekit.sources.modules import examine, load_file, seed_of, seeded
from edgekit.sources.request import FetchProgress, Network, NetworkRequest

if TYPE_CHECKING:
    from torch import nn


def takes(request: NetworkRequest) -> bool:
    return re.search(r"\.py(:|$)", request.name) is not None


def build(request: NetworkRequest, progress: FetchProgress | None) -> Network:
    path, function = parts_of(request.name)
    check_readable(
        path,
        BadNetwork,
        hint="give a Python file and, after a colon, the function in it that builds the network",
    )
    choice = request.weights
    seed = seed_of(choice) if choice else None
    if choice == "pretrained":
        raise InputError(
            "edgekit has no pretrained weights for a factory",
            hint="load them in the factory, or give `weights` a file",
        )
    module = seeded(lambda: call(path, function), seed or 0)
    if seed is not None:
        weights = WeightsEntry(source="random", trained=False, seed=seed)
    elif choice:
        weights = load_file(module, Path(choice))
    else:
        weights = WeightsEntry(source="factory", trained=True)
    spec, labels, notes = examine(module, request, f"{path.name}:{function}")
    return Network(
        NetworkEntry(name=path.stem, origin="factory"),
        weights,
        spec,
        labels,
        module,
        notes=notes,
        assumed=not request.normalizes,
    )


def parts_of(name: str) -> tuple[Path, str]:
    """The file and the function in the name of a network.

    Raises:
        InputError: there is no function in it.
    """
    file, _, function = name.rpartition(":") if ".py:" in name else (name, "", "")
    if not function:
        raise InputError(
            f"{name}: no factory function given",
            hint=f"add the function after a colon: {name}:build",
        )
    return Path(file), function


def call(path: Path, function: str) -> nn.Module:
    """Calls ``function`` of a Python file, which may import other files of its folder.

    Raises:
        BadNetwork: the file cannot be imported, or the function is missing, raises an exception, or
            returns no module.
    """
    from torch import nn

    with _importable(path.absolute().parent):
        factory = _import_factory(path, function)
        what = f"{path.name}:{function}"
        with blaming(f"{what} raised", lambda error: _theirs(error, path)), timed(what):
            module = factory()
    if not isinstance(module, nn.Module):
        raise BadNetwork(
            f"{path.name}:{function} returned {type(module).__name__}, not a torch.nn.Module",
            hint="return the network itself",
        )
    return module


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Makes the other files of the user's folder importable, as with ``python file.py``."""
    before = list(sys.path)
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path[:] = before


def _import_factory(path: Path, function: str) -> Callable[[], Any]:
    spec = importlib.util.spec_from_file_location(f"edgekit_user_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses and pickle look up the module by name
    with (
        blaming(f"{path.name} cannot be imported:", lambda error: _theirs(error, path)),
        timed(path.name),
    ):
        spec.loader.exec_module(module)
    factory = getattr(module, function, None)
    if not callable(factory):
        public = [
            n
            for n, v in vars(module).items()
            if callable(v) and not n.startswith("_") and getattr(v, "__module__", "") == spec.name
        ]
        raise BadNetwork(
            f"{path.name} has no function {function}",
            hint=f"it has {', '.join(public)}" if public else None,
        )
    return factory  # type: ignore[no-any-return]


def _theirs(error: BaseException, path: Path) -> str:
    """The user's exception in one line, with the last line of their file in the traceback."""
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename) == path.absolute() or frame.filename == str(path)
    ]
    where = f" (line {lines[-1]})" if lines else ""
    return f"{said(error)}{where}"
