"""Makes the bundles that run.py measures, on a machine with PyTorch; no GPU is needed.

    python benchmarks/gpu/prepare.py [--network NAME …] [--out build/gpu] [--trained NAME …] [--pack
    FOLDER]

Each network is exported in FP32, FP16 and INT8 with a dynamic batch; run.py builds one engine for
each batch. Networks without ``--trained`` get seeded random weights and the batch-norm statistics
of real photos: the latency of an engine does not depend on its weights. Its parity does, so the
manifest marks them as untrained, with a gate of SQNR alone: FP16 and INT8 engines must be at most 3
dB below the same graph on the CPU, or reach 40 dB. Their INT8 uses few photos and rounding to
nearest.

Existing bundles are kept. For a transfer in parts: ``--pack`` writes FOLDER/NETWORK.tar.00 and so
on, each at most 48 MB; ``cat NETWORK.tar.* | tar -x`` makes bundles of them again.
"""

from __future__ import annotations

import argparse
import os
import tarfile
import tempfile
import time
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from networks import NETWORKS, PRECISIONS, TRAINED, bundle_name

from edgekit.artifact import PrecisionName, sha256_of
from edgekit.bundle import CPU_MODEL, ENGINES, GOLDEN, MANIFEST, SENSITIVITY, Bundle, inventory
from edgekit.bundle.manifest import WeightsEntry
from edgekit.bundle.proof import ROUNDING_DB
from edgekit.calib import photos
from edgekit.comparison import GateChanges
from edgekit.errors import EdgekitError, GateFailed
from edgekit.images import ImageFolder, PreparedImages
from edgekit.pipeline.export import ExportRequest, export
from edgekit.pipeline.precision import Fp16, Fp32, Int8, Precision
from edgekit.sources import NetworkRequest, open_network

OUT = Path(__file__).resolve().parents[2] / "build" / "gpu"
SEED = 0
STATISTICS_IMAGES = 16
CHEAP_IMAGES = 32
PART_BYTES = 48_000_000
UNTRAINED_GATES = {
    "fp32": GateChanges({"agreement": None}),
    "fp16": GateChanges({"agreement": None, "sqnr": 20.0}),
    "int8": GateChanges({"agreement": None}),
}
ENOUGH_DB = 40.0
NOT_NEEDED = (CPU_MODEL, SENSITIVITY, "report.json", "report.md")


@dataclass(frozen=True)
class Weights:
    """The inputs of the exports of a network; ``file`` has the weights of an untrained one."""

    request: NetworkRequest
    file: Path | None

    @property
    def trained(self) -> bool:
        return self.file is None


def prepare(name: str, trained: bool, out: Path) -> None:
    """Makes the bundles of a network that ``out`` does not have yet.

    Raises:
        EdgekitError: as :func:`edgekit.pipeline.export.export`.
    """
    missing = [
        precision for precision in PRECISIONS if not (out / bundle_name(name, precision)).exists()
    ]
    if not missing:
        return
    with tempfile.TemporaryDirectory() as folder:
        weights = Weights(NetworkRequest(name), None) if trained else untrained(name, Path(folder))
        for precision in missing:
            started = time.perf_counter()
            bundle = export_bundle(weights, precision, out / bundle_name(name, precision))
            size = sum(entry.bytes for entry in bundle.manifest.files.values()) / 1e6
            print(
                f"{bundle.path.name:<28}{size:7.1f} MB {time.perf_counter() - started:6.0f} s",
                flush=True,
            )
    share_golden(name, out)


def untrained(name: str, folder: Path) -> Weights:
    """Seeded random weights with the batch-norm statistics of the bundled photos."""
    import torch
    from safetensors.torch import save_file

    from edgekit.models.statistics import settle_statistics

    network = open_network(NetworkRequest(name, f"random:{SEED}"))
    module = network.module
    assert module is not None
    chosen = ImageFolder(photos()[0].parent, tuple(photos())).spread(STATISTICS_IMAGES)
    settle_statistics(module, torch.from_numpy(PreparedImages(chosen.paths, network.input).stack()))
    file = folder / f"{name}-untrained.safetensors"
    save_file({key: value.contiguous() for key, value in module.state_dict().items()}, file)
    return Weights(NetworkRequest(name, str(file)), file)


def export_bundle(weights: Weights, precision: PrecisionName, path: Path) -> Bundle:
    """
    Raises:
        GateFailed: the graph misses its gate.
    """
    cheap = not weights.trained
    int8 = Int8(images=CHEAP_IMAGES, rounding="nearest") if cheap else Int8()
    precisions: dict[PrecisionName, Precision] = {"fp32": Fp32(), "fp16": Fp16(), "int8": int8}
    request = ExportRequest(
        weights.request,
        precisions[precision],
        path,
        batch=None,
        gate=UNTRAINED_GATES[precision] if cheap else GateChanges(),
        bench=False,
    )
    report = export(request)
    if report.failures:
        raise GateFailed(f"{path.name}: {'; '.join(map(str, report.failures))}")
    return finish(Bundle.open(path), weights)


def finish(bundle: Bundle, weights: Weights) -> Bundle:
    """Removes what a GPU does not need from a bundle, and marks untrained weights."""
    manifest = bundle.manifest
    if weights.file is not None:
        entry = WeightsEntry(
            source="file",
            trained=False,
            file=weights.file.name,
            sha256=sha256_of(weights.file),
            origin="random, with the batch-norm statistics of the bundled photos",
            seed=SEED,
        )
        manifest = manifest.model_copy(update={"weights": entry})
        if reached := [
            rung.sqnr
            for rung in manifest.parity
            if rung.name.startswith(manifest.precision) and rung.sqnr is not None
        ]:
            golden = (
                ENOUGH_DB if manifest.golden.sqnr is None else manifest.golden.sqnr
            )  # fewer photos, and so perhaps worse ones
            gate = manifest.gate.model_copy(
                update={"sqnr": min(ENOUGH_DB, round(min(*reached, golden) - ROUNDING_DB, 1))}
            )
            manifest = manifest.model_copy(update={"gate": gate})
    for name in NOT_NEEDED:
        (bundle.path / name).unlink(missing_ok=True)
    manifest = manifest.model_copy(update={"files": inventory(bundle.path)})
    (bundle.path / MANIFEST).write_text(manifest.model_dump_json(indent=1) + "\n", encoding="utf-8")
    return Bundle.open(bundle.path)


def share_golden(name: str, out: Path) -> None:
    """Replaces equal golden files of the bundles of a network by hard links, which a tar stores
    once.
    """
    first, *others = [out / bundle_name(name, precision) / GOLDEN for precision in PRECISIONS]
    for other in others:
        if sha256_of(other) == sha256_of(first) and not other.samefile(first):
            partial = other.with_name(f".{other.name}.link")
            os.link(first, partial)
            partial.replace(other)


def pack(name: str, out: Path, folder: Path) -> list[Path]:
    """Writes a network's bundles as parts of one tar; engines are left out."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob(f"{name}.tar.*"):
        old.unlink()
    with tempfile.TemporaryFile() as whole:
        with tarfile.open(fileobj=whole, mode="w") as tar:
            for precision in PRECISIONS:
                _add(tar, Bundle.open(out / bundle_name(name, precision)))
        size = whole.tell()
        whole.seek(0)
        parts = [folder / f"{name}.tar.{i:02}" for i in range(-(-size // PART_BYTES))]
        for part in parts:
            part.write_bytes(whole.read(PART_BYTES))
    return parts


def _add(tar: tarfile.TarFile, bundle: Bundle) -> None:
    """The bundle without the engines that were built into it."""
    files = {
        name: entry
        for name, entry in bundle.manifest.files.items()
        if not name.startswith(f"{ENGINES}/")
    }
    for name in files:
        tar.add(bundle.path / name, f"{bundle.path.name}/{name}", filter=_anonymous)
    text = bundle.manifest.model_copy(update={"files": files}).model_dump_json(indent=1).encode()
    manifest = tarfile.TarInfo(f"{bundle.path.name}/{MANIFEST}")
    manifest.size = len(text)
    tar.addfile(manifest, BytesIO(text))


def _anonymous(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry


def check(name: str, out: Path) -> None:
    """
    Raises:
        ValueError: the golden images of the precisions differ, so that they cannot be measured on
            the same.
    """
    golden = [Bundle.open(out / bundle_name(name, precision)).golden() for precision in PRECISIONS]
    if not all(np.array_equal(golden[0].inputs, other.inputs) for other in golden[1:]):
        raise ValueError(f"the bundles of {name} hold different golden images; make them again")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--network", nargs="+", default=NETWORKS, metavar="NAME", help="all by default"
    )
    parser.add_argument("--out", type=Path, default=OUT, metavar="FOLDER")
    parser.add_argument(
        "--trained",
        nargs="*",
        default=TRAINED,
        metavar="NAME",
        help=f"with published weights: {', '.join(TRAINED)} by default",
    )
    parser.add_argument(
        "--pack", type=Path, metavar="FOLDER", help="write parts for a transfer there"
    )
    asked = parser.parse_args()
    failed = 0
    for name in asked.network:
        try:
            prepare(name, name in asked.trained, asked.out)
            check(name, asked.out)
        except EdgekitError as error:
            failed = error.exit_code
            print(
                f"{name}: {error.message}" + (f"\n  hint: {error.hint}" if error.hint else ""),
                flush=True,
            )
            continue
        if asked.pack is not None:
            parts = pack(name, asked.out, asked.pack)
            print(
                f"{name}: {len(parts)} parts, "
                f"{sum(part.stat().st_size for part in parts) / 1e6:.1f} MB",
                flush=True,
            )
    return failed


if __name__ == "__main__":
    raise SystemExit(main())
