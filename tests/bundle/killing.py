"""Kills a process before each of its calls that change the disk, one after the other, and checks
what is left.

Run as a program, because each kill is of a forked child, and pytest's own process has threads:

    python killing.py CASE FOLDER

Prints the number of kills. An error is an AssertionError.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from edgekit.bundle import (
    ENGINES,
    GOLDEN,
    MANIFEST,
    MODEL,
    Bundle,
    Golden,
    inventory,
    save_golden,
    staging,
)
from edgekit.bundle.manifest import SCHEMA_VERSION
from edgekit.bundle.staging import Sibling, Staging, recover
from edgekit.errors import BadBundle
from edgekit.tasks.build import _keep

CALLS = {
    "open",
    "os.rename",
    "os.remove",
    "os.rmdir",
    "os.mkdir",
    "os.link",
    "os.symlink",
    "os.truncate",
    "exchange",
}
NAME = "tensorrt-10.3.0-sm87-fp16-01234567-89abcdef"


def write_bundle(folder: Path, graph: bytes) -> None:
    """A bundle with a manifest and a graph of any bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MODEL).write_bytes(graph)
    save_golden(
        folder / GOLDEN,
        Golden(np.zeros((1, 1, 4, 4), np.float32), np.zeros((1, 2), np.float32), ("cat.jpg",)),
    )
    entry = {
        "name": "input",
        "shape": [1, 1, 4, 4],
        "dtype": "float32",
        "channels": 1,
        "height": 4,
        "width": 4,
        "layout": "NCHW",
    }
    manifest = {
        "schema_version": SCHEMA_VERSION,
        "edgekit": "0.1.0",
        "network": {"name": "net", "origin": "factory"},
        "weights": {"source": "factory", "trained": True},
        "input": {**entry, "resize": 1.0, "interpolation": "bilinear", "mean": [0.5], "std": [0.5]},
        "output": {"name": "logits", "classes": 2, "kind": "logits"},
        "precision": "fp16",
        "opset": 17,
        "gate": {},
        "parity": [],
        "parity_images": {"source": "here", "count": 1, "sha256": "0"},
        "golden": {"images": 1, "flips": 0, "sqnr": None},
        "tools": {},
        "files": {name: file.model_dump() for name, file in inventory(folder).items()},
    }
    (folder / MANIFEST).write_text(json.dumps(manifest))


def kill_everywhere(
    root: Path, prepare: Callable[[], None], act: Callable[[], None], look: Callable[[], None]
) -> int:
    """Runs ``prepare`` and ``act`` in a new ``root`` and kills before each call in turn; ``look``
    checks the result of each kill. Returns the number of kills.
    """
    for number in range(1, 10_000):
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir()
        prepare()
        child = os.fork()
        if not child:
            _arm(number, root)
            act()
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        look()
        if os.WIFEXITED(status):
            assert os.WEXITSTATUS(status) == 0, "it failed without being killed"
            return number - 1
        assert os.WTERMSIG(status) == signal.SIGKILL
    raise AssertionError("it never ends")


def _arm(number: int, root: Path) -> None:
    count = 0

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal count
        if event not in CALLS or not isinstance(arguments[0], (str, bytes, os.PathLike)):
            return
        path = Path(os.fsdecode(arguments[0]))
        if path.is_absolute() and not path.is_relative_to(root):
            return
        count += 1
        if count == number:
            os.kill(os.getpid(), signal.SIGKILL)

    exchange = staging.exchange

    def audited(one: Path, other: Path) -> bool:
        sys.audit("exchange", one)
        done = exchange(one, other)
        sys.audit("exchange", one)
        return done

    staging.exchange = audited
    sys.addaudithook(hook)


# ---- an export


def export(final: Path) -> None:
    with Staging(final, force=True) as stage:
        write_bundle(stage.path, b"new")
        (stage.scratch / "traced.onnx").write_text("not for the bundle")
        stage.commit()


def kill_exports(root: Path, *, old: bool, exchanges: bool) -> int:
    final = root / "build" / "net[1].fp16"
    if not exchanges:
        staging.exchange = lambda one, other: False

    def prepare() -> None:
        if old:
            write_bundle(final, b"old")

    def look() -> None:
        if final.exists():
            assert Bundle.open(final).damage() == []
        assert final.exists() or not old or not exchanges, "there was a moment without any bundle"
        try:
            left = (Bundle.open(final).path / MODEL).read_bytes()  # the next command that reads it
            assert left == b"new" or (old and left == b"old")
        except BadBundle:
            assert not old
        recover(final)  # the next one that writes there
        assert not final.parent.exists() or list(final.parent.iterdir()) == (
            [final] if final.exists() else []
        )
        assert final.exists() or not old
        assert not final.exists() or Bundle.open(final).damage() == []

    return kill_everywhere(root, prepare, lambda: export(final), look)


# ---- a build into a bundle


def build(bundle: Path, text: bytes, *, record_only: bool = False) -> None:
    with Sibling(bundle.resolve()) as workshop:
        files = [
            workshop.path / f"{NAME}{suffix}"
            for suffix in ((".json",) if record_only else (".engine", ".json"))
        ]
        for file in files:
            file.write_bytes(text)
        _keep(Bundle.open(bundle), workshop, f"{NAME}.engine", files)


def kill_builds(root: Path, *, old: bool, record_only: bool = False) -> int:
    bundle = root / "net"

    def engines() -> list[bytes]:
        listed = Bundle.open(bundle).manifest.files
        return [
            (bundle / name).read_bytes()
            for name in sorted(listed)
            if name.startswith(f"{ENGINES}/")
        ]

    def prepare() -> None:
        write_bundle(bundle, b"graph")
        if old:
            build(bundle, b"old")

    def look() -> None:
        assert Bundle.open(bundle).damage() == [], "a moment in which verify would call it damaged"
        new = [b"old", b"new"] if record_only else [b"new", b"new"]
        assert engines() in ([], new, *([[b"old", b"old"]] if old else []))
        export_over = Staging(
            bundle, force=True
        )  # what was left does not keep --force from replacing it
        assert export_over.final == bundle
        build(bundle, b"next")
        assert engines() == [b"next", b"next"]
        assert list(root.iterdir()) == [bundle]
        assert Bundle.open(bundle).damage() == [] and Bundle.open(bundle).leftovers() == []

    return kill_everywhere(
        root, prepare, lambda: build(bundle, b"new", record_only=record_only), look
    )


CASES: dict[str, Callable[[Path], int]] = {
    "export": lambda root: kill_exports(root, old=False, exchanges=True),
    "export over a bundle": lambda root: kill_exports(root, old=True, exchanges=True),
    "export over a bundle without exchange": lambda root: kill_exports(
        root, old=True, exchanges=False
    ),
    "build": lambda root: kill_builds(root, old=False),
    "build over an engine": lambda root: kill_builds(root, old=True),
    "record of an engine": lambda root: kill_builds(root, old=True, record_only=True),
}

if __name__ == "__main__":
    print(CASES[sys.argv[1]](Path(sys.argv[2])))
