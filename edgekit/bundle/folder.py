"""The deployable folder: opened, verified, written.

A bundle needs nothing but its own files and the base install to be opened, and one runtime to be run.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ValidationError

from edgekit.artifact import Artifact, TensorSpec, sha256_of
from edgekit.bundle.manifest import SCHEMA_VERSION, FileEntry, Manifest
from edgekit.errors import BadBundle

MANIFEST, MODEL, GOLDEN, LABELS, SENSITIVITY = "manifest.json", "model.onnx", "golden.npz", "labels.txt", "sensitivity.json"
CPU_MODEL = "model.cpu.onnx"
STRONG_MODEL = "model.strong.onnx"
GOLDEN_IMAGES = 16


@dataclass(frozen=True)
class Golden:
    """Preprocessed images ``(N, C, H, W)``, the reference's outputs ``(N, classes)`` and the images' names."""

    inputs: NDArray[np.float32]
    outputs: NDArray[np.float32]
    names: tuple[str, ...]


@dataclass(frozen=True)
class Bundle:
    path: Path
    manifest: Manifest

    @classmethod
    def open(cls, path: Path) -> Bundle:
        """Reads a bundle's manifest.

        Raises:
            BadBundle: no such folder, no manifest, or one that this edgekit cannot read.
        """
        file = path / MANIFEST
        if not path.is_dir():
            raise BadBundle(f"{path} is no folder", hint="a bundle is the folder that `edgekit export` wrote")
        if not file.is_file():
            raise BadBundle(f"{path} is no bundle: it has no {MANIFEST}")
        try:
            text = file.read_bytes()
            version = _Version.model_validate_json(text).schema_version
            if version != SCHEMA_VERSION:
                raise BadBundle(f"{path} is of schema {version}; this edgekit reads {SCHEMA_VERSION}", hint="use the edgekit that wrote it")
            manifest = Manifest.model_validate_json(text)
            manifest.input.spec()
        except OSError as error:
            raise BadBundle(f"{file} cannot be read: {error.strerror}") from error
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or MANIFEST
            raise BadBundle(f"{file} cannot be read: {where}: {first['msg']}", hint="export the network again") from error
        except ValueError as error:
            raise BadBundle(f"{file} cannot be read: input: {error}", hint="export the network again") from error
        if MODEL not in manifest.files:
            raise BadBundle(f"{file} lists no {MODEL}", hint="export the network again")
        return cls(path, manifest)

    @property
    def artifact(self) -> Artifact:
        """The graph that engines are built from and that parity was proven on."""
        return self._artifact(MODEL)

    @property
    def cpu_artifact(self) -> Artifact:
        """The graph to run on a CPU: the same numbers in the form its kernels are fast on, where the bundle has one."""
        return self._artifact(CPU_MODEL if CPU_MODEL in self.manifest.files else MODEL)

    @property
    def strong_artifact(self) -> Artifact:
        """The graph for TensorRT 10, 11 and RTX, whose layers run in the types that the graph says; like the others where the bundle has no such form."""
        return self._artifact(STRONG_MODEL if STRONG_MODEL in self.manifest.files else MODEL)

    def _artifact(self, name: str) -> Artifact:
        m = self.manifest
        return Artifact(
            self.path / name,
            "onnx",
            m.precision,  # type: ignore[arg-type]
            (TensorSpec(m.input.name, m.input.shape, m.input.dtype),),
            (TensorSpec(m.output.name, (m.input.shape[0], m.output.classes), m.input.dtype),),
            m.files[name].sha256,
        )

    def labels(self) -> list[str] | None:
        """Names of the classes in order, or None where nobody gave any.

        Raises:
            BadBundle: they are not as many as the classes, or no text.
        """
        file, classes = self.path / LABELS, self.manifest.output.classes
        if not file.is_file():
            return None
        try:
            names = file.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise BadBundle(f"{file} cannot be read: {error}", hint="copy the bundle again") from error
        if len(names) != classes:
            raise BadBundle(f"{file} names {len(names)} classes, the network has {classes}", hint="copy the bundle again")
        return names

    def golden(self) -> Golden:
        """The images and outputs that prove a copy of this bundle.

        Raises:
            BadBundle: the file is missing or damaged.
        """
        try:
            with (self.path / GOLDEN).open("rb") as file, np.load(file, allow_pickle=False) as data:
                return Golden(data["inputs"], data["outputs"], tuple(str(n) for n in data["names"]))
        except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise BadBundle(f"{self.path / GOLDEN} is missing or damaged", hint="copy the bundle again") from error

    def damage(self) -> list[str]:
        """What differs from the manifest's hashes, file by file; empty for a sound bundle."""
        found = [damage for name in self.manifest.files if (damage := self._damage_of(name))]
        listed = {MANIFEST, *self.manifest.files}
        there = sorted(p.relative_to(self.path).as_posix() for p in self.path.rglob("*") if p.is_symlink() or not p.is_dir())
        return found + [f"{name} is not in the manifest" for name in there if name not in listed]

    def check_whole(self) -> None:
        """
        Raises:
            BadBundle: some file is not what was exported.
        """
        if damage := self.damage():
            raise self._damaged(damage[0])

    def check(self, name: str) -> None:
        """
        Raises:
            BadBundle: a file is missing, or is not the one that was exported.
        """
        if damage := self._damage_of(name):
            raise self._damaged(damage)

    def _damaged(self, how: str) -> BadBundle:
        return BadBundle(f"{self.path} is damaged: {how}", hint="copy or export it again")

    def _damage_of(self, name: str) -> str | None:
        file, entry = self.path / name, self.manifest.files[name]
        if not file.is_file():
            return f"{name} is missing"
        try:
            sound = file.stat().st_size == entry.bytes and sha256_of(file) == entry.sha256
        except OSError as error:
            return f"{name} cannot be read: {error.strerror}"
        return None if sound else f"{name} is not the file that was exported"


class _Version(BaseModel):
    """The one field that every schema has."""

    schema_version: int


def save_golden(path: Path, golden: Golden) -> None:
    """Writes ``golden.npz``, compressed."""
    np.savez_compressed(path, inputs=golden.inputs, outputs=golden.outputs, names=np.array(golden.names))


def inventory(folder: Path) -> dict[str, FileEntry]:
    """Every file below a folder but the manifest, with its hash and size."""
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != MANIFEST)
    return {p.relative_to(folder).as_posix(): FileEntry(sha256=sha256_of(p), bytes=p.stat().st_size) for p in files}
