"""Small real bundles to report on, and a hostile copy of what one says of itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import edgekit
from edgekit.latency import clock, sustained
from edgekit.tasks import bench_more

EVIL = '<script>alert(1)</script> $x$ --> {{7*7}} "quoted"'


@pytest.fixture(scope="session")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as a sweep leaves it: bundles below one folder, a bench beside them."""
    folder = tmp_path_factory.mktemp("sweep")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clock, "STEADY_WITHIN", 1e9)  # nothing here depends on a latency
        lenet = edgekit.export(
            "lenet5", precision=edgekit.Int8(rounding="nearest"), out=folder / "bundles/lenet5-int8"
        )
        edgekit.export(
            "mobilenetv2_035",
            precision=edgekit.Fp16(),
            weights="random:0",
            size=64,
            out=folder / "bundles/mobilenetv2_035-fp16",
            bench=False,
        )
        for module in (sustained, bench_more):
            patch.setattr(module, "SHORTEST", 0.1)
        bench = edgekit.bench(lenet.bundle, runtimes=("onnxruntime",), seconds=0.1, sustained=0.02)
    (folder / "bench.json").write_text(json.dumps(bench.to_json()))
    return folder


@pytest.fixture
def said(sweep: Path) -> dict[str, Any]:
    """The report of the INT8 bundle, to be changed."""
    report: dict[str, Any] = json.loads((sweep / "bundles/lenet5-int8/report.json").read_text())
    return report


@pytest.fixture
def hostile(said: dict[str, Any], tmp_path: Path) -> Path:
    """The report of a failed export in which every text that users name is markup."""
    said["network"]["name"] = EVIL
    said["weights"]["file"] = '"><img src=x onerror=alert(1)>'
    said["ladder"][3]["failures"] = [f"{EVIL} is under 5 dB"]
    said["ladder"][3]["parity"]["sqnr"] = 3.0
    said["advice"] = [{"message": f"</style>{EVIL}", "fix": EVIL}]
    said["kept"][0].update(name=EVIL, reason=EVIL)
    said["latency"]["rows"][0]["name"] = said["latency"]["reference"] = EVIL
    said["environment"]["machine"] = EVIL
    said["path"] = None
    file = tmp_path / "hostile.json"
    file.write_text(json.dumps(said))
    return file
