"""Opens and checks a bundle folder.

To open a bundle, only its files and the base install are needed; to run it, also one runtime.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ValidationError

from edgekit.artifact import Artifact, sha256_of
from edgekit.bundle.golden import Golden, read_golden
from edgekit.bundle.manifest import SCHEMA_VERSION, FileEntry, Manifest
from edgekit.bundle.names import (
    CPU_MODEL,
    ENGINES,
    GOLDEN,
    LABELS,
    MANIFEST,
    MODEL,
    SENSITIVITY,
    STRONG_MODEL,
    is_engine_file,
)
from edgekit.bundle.sensitivity import SensitivityTable
from edgekit.bundle.staging import recover
from edgekit.errors import BadBundle
from edgekit.files import check_readable, no_file

if TYPE_CHECKING:
    from typing import Self

GOLDEN_IMAGES = 16
EXPORT_AGAIN = "export the network again, or copy the bundle again"


@dataclass(frozen=True)
class Bundle:
    path: Path
    manifest: Manifest

    @classmethod
    def open(cls, path: Path | str) -> Self:
        """Reads the manifest of a bundle.

        Raises:
            BadBundle: there is no such folder or no manifest, or this edgekit cannot read it.
        """
        path = Path(path)
        file = path / MANIFEST
        if not path.exists():
            recover(path)
        if not path.is_dir():
            raise BadBundle(
                f"{path} is not a folder", hint="a bundle is the folder that `edgekit export` wrote"
            )
        if not file.exists():
            raise BadBundle(
                f"{path} is not a bundle: it has no {MANIFEST}",
                hint="a bundle is the folder that `edgekit export` wrote",
            )
        check_readable(file, BadBundle, hint=EXPORT_AGAIN)
        try:
            text = file.read_bytes()
            version = _Version.model_validate_json(text).schema_version
            if version != SCHEMA_VERSION:
                raise BadBundle(
                    f"{path} has schema {version}; this edgekit reads {SCHEMA_VERSION}",
                    hint="use the version of edgekit that wrote it",
                )
            manifest = Manifest.model_validate_json(text)
        except OSError as error:
            raise BadBundle(
                f"{file} cannot be read: {error.strerror}", hint=EXPORT_AGAIN
            ) from error
        except ValidationError as error:
            raise BadBundle(
                f"{file} cannot be read: {first_fault(error, MANIFEST)}", hint=EXPORT_AGAIN
            ) from error
        for name in (MODEL, GOLDEN):
            if name not in manifest.files:
                raise BadBundle(f"{file} does not list {name}", hint=EXPORT_AGAIN)
        return cls(path, manifest)

    @property
    def artifact(self) -> Artifact:
        """The graph that engines are built from and that parity was checked on."""
        return self._artifact(MODEL)

    @property
    def cpu_artifact(self) -> Artifact:
        """The graph to run on a CPU: if the bundle has one, the form with the same numbers that CPU
        kernels run fast.
        """
        return self._artifact(CPU_MODEL if CPU_MODEL in self.manifest.files else MODEL)

    @property
    def strong_artifact(self) -> Artifact:
        """The graph for TensorRT 10, 11 and RTX, which run each layer in the type that the graph
        has. If the bundle has no such form, the graph for the other versions.
        """
        return self._artifact(STRONG_MODEL if STRONG_MODEL in self.manifest.files else MODEL)

    def _artifact(self, name: str) -> Artifact:
        m = self.manifest
        given, scores = m.tensors
        return Artifact(
            self.path / name, "onnx", m.precision, (given,), (scores,), m.files[name].sha256
        )

    def labels(self) -> list[str] | None:
        """The names of the classes in order, or None if the export had none.

        Raises:
            BadBundle: the file differs from the export, has another number of names than classes,
                or is not text.
        """
        if LABELS not in self.manifest.files:
            return None
        self.check(LABELS)
        file, classes = self.path / LABELS, self.manifest.output.names
        try:
            names = file.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError as error:
            raise BadBundle(f"{file} cannot be read: {error}", hint=EXPORT_AGAIN) from error
        if len(names) != classes:
            raise BadBundle(
                f"{file} names {len(names)} classes, the network has {classes}", hint=EXPORT_AGAIN
            )
        return names

    def golden(self) -> Golden:
        """The images and outputs that a copy of this bundle is checked with.

        Raises:
            BadBundle: the file differs from the export or from the manifest.
        """
        self.check(GOLDEN)
        told = self.manifest
        image = tuple(int(side) for side in told.input.shape[1:])
        pixels = "uint8" if told.input.dtype == "uint8" else "float32"
        try:
            return read_golden(
                self.path / GOLDEN, told.golden.images, image, pixels, told.output.classes
            )
        except ValueError as error:
            raise BadBundle(
                f"{self.path / GOLDEN} does not match {MANIFEST}: {error}", hint=EXPORT_AGAIN
            ) from error

    def sensitivity(self) -> SensitivityTable | None:
        """The cost of each layer in INT8; None if the bundle has no such table.

        Raises:
            BadBundle: the file differs from the export, or is not such a table.
        """
        if SENSITIVITY not in self.manifest.files:
            return None
        self.check(SENSITIVITY)
        try:
            return SensitivityTable.model_validate_json((self.path / SENSITIVITY).read_bytes())
        except ValidationError as error:
            raise BadBundle(
                f"{self.path / SENSITIVITY} cannot be read: {first_fault(error, 'json')}",
                hint=EXPORT_AGAIN,
            ) from error

    def damage(self) -> list[str]:
        """The differences from the manifest's hashes, file by file; empty for an unchanged bundle.

        The leftovers of a killed build in ``engines/`` do not count: they are never read, and the
        next build removes them.

        Raises:
            BadBundle: another process replaced the bundle since it was opened.
        """
        found = [damage for name in self.manifest.files if (damage := self._damage_of(name))]
        found += [f"{name} is not in the manifest" for name in self.unlisted()]
        if found and self._is_replaced():
            raise self._damaged(found[0])
        return found

    def unlisted(self) -> list[str]:
        """The files that the manifest does not list, without engines and their descriptions."""
        listed = {MANIFEST, *self.manifest.files}
        there = sorted(
            p.relative_to(self.path).as_posix()
            for p in self.path.rglob("*")
            if p.is_symlink() or not p.is_dir()
        )
        return [name for name in there if name not in listed and not is_engine_file(name)]

    def leftovers(self) -> list[Path]:
        """The files in ``engines/`` that have the name of an engine or its json, and are not in the
        manifest.
        """
        found = (f"{ENGINES}/{p.name}" for p in (self.path / ENGINES).glob("*"))
        return [
            self.path / name
            for name in found
            if is_engine_file(name) and name not in self.manifest.files
        ]

    def check_whole(self) -> None:
        """Checks all files.

        Raises:
            BadBundle: a file differs from the export.
        """
        self._check(self.manifest.files)
        if unlisted := self.unlisted():
            raise self._damaged(
                f"{unlisted[0]} is not in the manifest", hint=f"remove {self.path / unlisted[0]}"
            )

    def check_exported(self) -> None:
        """As :meth:`check_whole`, but without engines, which are checked separately, and without
        files that the manifest does not list.

        Raises:
            BadBundle: a file differs from the export.
        """
        self._check(name for name in self.manifest.files if not name.startswith(f"{ENGINES}/"))

    def check_deployable(self) -> None:
        """Checks that this bundle may go to devices.

        Raises:
            BadBundle: a file differs from the export, the weights are random, or a gate was missed.
        """
        self.check_whole()
        weights = self.manifest.weights
        if not weights.trained:
            raise BadBundle(
                f"{self.path} has random weights (seed {weights.seed}) and must not go to a device",
                hint="export the network with trained weights",
            )
        if missed := [rung.name for rung in self.manifest.parity if not rung.passed]:
            raise BadBundle(
                f"{self.path} missed its parity gate ({', '.join(missed)}) and must not go to a "
                "device",
                hint="export the network again",
            )

    def check(self, name: str) -> None:
        """Checks one file.

        Raises:
            BadBundle: a file is missing or differs from the export.
        """
        self._check([name])

    def check_current(self) -> None:
        """Checks that the folder is still the export that was opened, after its files were read:
        another process may have replaced it between two of them. Other engines do not count.

        Raises:
            BadBundle: another process replaced the bundle since it was opened.
        """
        now = self._present()
        if now is not None and _without_engines(now) != _without_engines(self.manifest):
            raise self._replaced()

    def _check(self, names: Iterable[str]) -> None:
        for name in names:
            if damage := self._damage_of(name):
                raise self._damaged(damage)

    def _damaged(self, how: str, hint: str = "copy or export it again") -> BadBundle:
        if self._is_replaced():
            return self._replaced()
        return BadBundle(f"{self.path} is damaged: {how}", hint=hint)

    def _replaced(self) -> BadBundle:
        return BadBundle(
            f"{self.path} was replaced while it was read", hint="run the command again"
        )

    def _is_replaced(self) -> bool:
        """Whether the folder has another manifest than when it was opened."""
        now = self._present()
        return now is not None and now.model_dump_json() != self.manifest.model_dump_json()

    def _present(self) -> Manifest | None:
        """The manifest that the folder has now; None if it cannot be read."""
        try:
            return Manifest.model_validate_json((self.path / MANIFEST).read_bytes())
        except (OSError, ValidationError):
            return None

    def _damage_of(self, name: str) -> str | None:
        file, entry = self.path / name, self.manifest.files.get(name)
        if entry is None:
            return f"{name} is not in the manifest"
        if reason := no_file(file):
            return f"{name} is missing" if reason == "no such file" else f"{name} {reason}"
        try:
            same = file.stat().st_size == entry.bytes and sha256_of(file) == entry.sha256
        except OSError as error:
            return f"{name} cannot be read: {error.strerror}"
        return None if same else f"{name} is not the file that was exported"


def _without_engines(manifest: Manifest) -> str:
    exported = {n: f for n, f in manifest.files.items() if not n.startswith(f"{ENGINES}/")}
    return manifest.model_copy(update={"files": exported}).model_dump_json()


class _Version(BaseModel):
    """The one field that every schema has."""

    schema_version: int


def first_fault(error: ValidationError, whole: str) -> str:
    """The first difference between a json and its schema, in words; ``whole`` is the name of the
    file.
    """
    first = error.errors(include_url=False, include_input=False)[0]
    return (
        f"{'.'.join(map(str, first['loc'])) or whole}: {first['msg'].removeprefix('Value error, ')}"
    )


def inventory(folder: Path) -> dict[str, FileEntry]:
    """Every file below a folder except the manifest, with its hash and size."""
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != MANIFEST)
    return {
        p.relative_to(folder).as_posix(): FileEntry(sha256=sha256_of(p), bytes=p.stat().st_size)
        for p in files
    }
