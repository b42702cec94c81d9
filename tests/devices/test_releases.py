"""Releases on a device: the programs that activate them and roll back to them."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest

from edgekit.devices.facts import facts_program
from edgekit.devices.program import Program, Reply

from .conftest import answer

NAME = "lenet"


class Releases:
    """The releases of one bundle in a folder of bundles."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.base = root / "bundles" / NAME
        self.tools = root / "bin"
        for folder in ("store", "engines", "bin"):
            (root / folder).mkdir(parents=True)

    def assemble(self, name: str, engine: str, tensorrt: str = "") -> None:
        """Writes the files of a release, as ``trtexec.sh`` leaves them."""
        work = self.base / "releases" / f".{name}.partial"
        files = {"manifest.json": name, "golden/inputs.raw": "raw", "model.engine": engine}
        for path, text in files.items():
            (work / path).parent.mkdir(parents=True, exist_ok=True)
            (work / path).write_text(text)
        (work / ".edgekit").mkdir()
        listed = (f"{hashlib.sha256(files[path].encode()).hexdigest()} {path}\n" for path in files)
        (work / ".edgekit" / "files").write_text("".join(listed))
        if tensorrt:
            (work / ".edgekit" / "tensorrt").write_text(f"{tensorrt}\n")

    def activate(self, name: str) -> Reply:
        return self._run(Program("activate", (str(self.root), NAME, name, "2")), b"{}")

    def deploy(self, name: str, engine: str, tensorrt: str = "") -> None:
        self.assemble(name, engine, tensorrt)
        assert self.activate(name).problem is None

    def rollback(self) -> Reply:
        arguments = (str(self.root), NAME, "me@here 1 aa", "")
        return self._run(Program("rollback", arguments, ("facts", "lock")))

    def links(self) -> tuple[str, str]:
        """The names of the active release and of the previous one."""
        targets = ((self.base / link).readlink() for link in ("current", "previous"))
        current, previous = (target.name for target in targets)
        return current, previous

    def has_trtexec(self, version: str) -> None:
        """Puts a trtexec there, which prints no version if it is empty."""
        tool = self.tools / "trtexec"
        first = f"&&&& RUNNING TensorRT.trtexec [TensorRT v{version}] # trtexec"
        tool.write_text(f"#!/bin/sh\n{f'echo {first!r}' if version else 'exit 127'}\n")
        tool.chmod(0o755)

    def cannot_remove(self, name: str) -> None:
        """As if another user had written into this release: it can be renamed, but not removed."""
        tool, real = self.tools / "rm", shutil.which("rm")
        (self.base / "releases" / name / "theirs").touch()
        lines = (
            "for path do",
            f"[ ! -e $path/theirs ] || exec {real} -f $path/manifest.json",
            "done",
        )
        tool.write_text("\n".join(("#!/bin/sh", *lines, f'exec {real} "$@"\n')))
        tool.chmod(0o755)

    def _run(self, program: Program, payload: bytes = b"") -> Reply:
        return answer("sh", program.text(), program.nonce, payload, self.tools).reply()


@pytest.fixture
def releases(tmp_path: Path) -> Releases:
    return Releases(tmp_path / "edgekit")


def test_a_release_with_a_new_engine_can_be_rolled_back_to(releases: Releases) -> None:
    releases.deploy("aaa", "engine 1")
    releases.deploy("aaa", "engine 2", "100300")
    engine = releases.base / "current" / "model.engine"
    assert engine.read_text() == "engine 2"
    assert (releases.base / "current" / ".edgekit" / "tensorrt").read_text() == "100300\n"
    releases.deploy("bbb", "engine 3")
    assert releases.rollback().problem is None
    assert releases.links() == ("aaa", "bbb")


def test_an_interrupted_repair_can_be_run_again(releases: Releases) -> None:
    """The device lost its power after the new engine was moved, before its hash was."""
    releases.deploy("aaa", "engine 1")
    (releases.base / "current" / "model.engine").write_text("engine 2")
    releases.deploy("aaa", "engine 2")
    releases.deploy("bbb", "engine 3")
    assert releases.rollback().problem is None


@pytest.mark.parametrize("lost", ["", "golden", ".edgekit"])
def test_an_active_release_that_lost_files_is_repaired(releases: Releases, lost: str) -> None:
    releases.deploy("aaa", "engine 1")
    releases.deploy("bbb", "engine 2")
    shutil.rmtree(releases.base / "releases" / "bbb" / lost)
    releases.deploy("bbb", "engine 2")
    assert releases.links() == ("bbb", "aaa")
    assert (releases.base / "current" / "golden" / "inputs.raw").read_text() == "raw"
    assert releases.rollback().problem is None
    assert releases.rollback().problem is None, "the repaired release is damaged"


def test_a_release_that_cannot_be_checked_is_not_rolled_back_to(releases: Releases) -> None:
    releases.deploy("aaa", "engine 1")
    releases.deploy("bbb", "engine 2")
    (releases.base / "releases" / "aaa" / ".edgekit" / "files").unlink()
    assert releases.rollback().problem == ("damaged", ".edgekit/files")
    assert releases.links() == ("bbb", "aaa")


def test_a_lost_release_is_not_listed(releases: Releases) -> None:
    for name in ("aaa", "bbb"):
        releases.deploy(name, f"engine of {name}")
    program = facts_program(str(releases.root), "")
    reply = answer("sh", program.text(), program.nonce, tools=releases.tools).reply()
    assert reply.all("bundle") == [f"releases/bbb releases/aaa {NAME}"]
    shutil.rmtree(releases.base / "releases" / "bbb")
    reply = answer("sh", program.text(), program.nonce, tools=releases.tools).reply()
    assert not reply.all("bundle")


def test_a_lost_release_does_not_become_the_previous_one(releases: Releases) -> None:
    releases.deploy("aaa", "engine 1")
    releases.deploy("bbb", "engine 2")
    shutil.rmtree(releases.base / "releases" / "bbb")
    releases.deploy("ccc", "engine 3")
    assert releases.links() == ("ccc", "aaa")


def test_a_release_that_cannot_be_removed_is_replaced(releases: Releases) -> None:
    """A container wrote into it as root."""
    releases.deploy("aaa", "engine 1")
    releases.deploy("bbb", "engine 2")
    releases.cannot_remove("aaa")
    releases.deploy("aaa", "engine 3")
    active = releases.base / "current"
    assert releases.links() == ("aaa", "bbb")
    assert (active / "model.engine").read_text() == "engine 3"
    assert (active / "manifest.json").is_file()
    assert not list(active.glob(".*.partial"))


@pytest.mark.parametrize(
    ("present", "problem"), [("8602", None), ("100300", ("outdated", "8602 100300")), ("", None)]
)
def test_an_engine_of_another_tensorrt_is_not_rolled_back_to(
    releases: Releases, present: str, problem: tuple[str, str] | None
) -> None:
    """If trtexec does not work, the present version is unknown."""
    releases.deploy("aaa", "engine 1", "8602")
    releases.deploy("bbb", "engine 2", "100300")
    releases.has_trtexec(present)
    assert releases.rollback().problem == problem
    assert releases.links() == (("bbb", "aaa") if problem else ("aaa", "bbb"))
