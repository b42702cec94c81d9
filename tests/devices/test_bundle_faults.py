"""Bundles and releases that must not become active on a device."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgekit.bundle import MANIFEST, Bundle

from .conftest import EdgekitCall, quick, refused, relabelled
from .loopback import Host, Network


def test_a_bundle_that_changed_after_the_export(
    orin: Host, network: Network, edgekit: EdgekitCall, bundle: Path
) -> None:
    calls = network.calls
    model = bundle / "model.onnx"
    model.write_bytes(model.read_bytes()[:-1] + b"x")
    result = edgekit(*quick(bundle, "orin"))
    refused(result, 2, "is damaged: model.onnx is not the file that was exported")
    assert network.calls == calls, "something was sent"


@pytest.mark.parametrize("path", ["../evil", "/etc/evil", "a/../../evil"])
def test_a_manifest_that_names_files_outside(
    orin: Host, network: Network, edgekit: EdgekitCall, bundle: Path, path: str
) -> None:
    calls = network.calls
    text = (bundle / MANIFEST).read_text()
    (bundle / MANIFEST).write_text(text.replace('"labels.txt": {', f'"{path}": {{'))
    result = edgekit(*quick(bundle, "orin"))
    refused(result, 2, "is not a file name in a bundle")
    assert network.calls == calls


def test_random_weights_and_a_failed_gate(
    orin: Host, network: Network, edgekit: EdgekitCall, bundle: Path
) -> None:
    calls = network.calls
    whole = Bundle.open(bundle).manifest
    for update, words in (
        ({"weights": whole.weights.model_copy(update={"trained": False, "seed": 7})},
         "has random weights (seed 7) and must not go to a device"),
        ({"parity": tuple(rung.model_copy(update={"passed": False}) for rung in whole.parity)},
         "missed its parity gate"),
    ):  # fmt: skip
        manifest = whole.model_copy(update=update)
        (bundle / MANIFEST).write_text(manifest.model_dump_json(indent=1) + "\n")
        refused(edgekit(*quick(bundle, "orin")), 2, words)
    assert network.calls == calls
    assert not orin.root.exists() or not list((orin.root / "store").iterdir())


def test_parity_that_fails_on_the_device(
    orin: Host,
    edgekit: EdgekitCall,
    bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert edgekit(*quick(bundle, "orin")).code == 0
    active = orin.current(bundle.name)
    from edgekit.devices.program import script
    from edgekit.devices.runtimes import onnxruntime

    broken = script("run_onnx.py").replace(
        b"scores = np.concatenate(rows)", b"scores = -np.concatenate(rows)"
    )
    assert broken != script("run_onnx.py")
    monkeypatch.setattr(onnxruntime, "script", lambda name: broken)
    result = edgekit(*quick(bundle, "orin"))
    refused(result, 1, "SQNR is", "the old release", "stays active")
    assert "orin" in result.out and "fail" in result.out
    assert orin.current(bundle.name) == active
    (report,) = (tmp_path / "config" / "deployments" / "orin" / bundle.name).glob(
        "last-failure.json"
    )
    told = json.loads(report.read_text())
    assert str(report) in result.err
    assert (told["status"], told["proven"]["failures"] != []) == ("gate failed", True)
    assert told["hint"] in " ".join(result.err.split())
    leftovers = [path for path in active.parent.iterdir() if path != active] if active else []
    assert all(path.name.startswith(".") for path in leftovers)


def test_a_release_before_that_is_damaged_is_not_rolled_back_to(
    orin: Host, edgekit: EdgekitCall, bundle: Path
) -> None:
    assert edgekit(*quick(bundle, "orin")).code == 0
    one = orin.current(bundle.name)
    relabelled(bundle, "second")
    assert edgekit(*quick(bundle, "orin")).code == 0
    two = orin.current(bundle.name)
    assert one is not None
    labels = one / "labels.txt"
    labels.unlink()
    labels.write_text("something else\n")
    result = edgekit("device", "rollback", "orin", bundle.name)
    refused(result, 3, "the previous release is damaged: labels.txt", "the active release stays")
    assert orin.current(bundle.name) == two
