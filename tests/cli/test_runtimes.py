"""``--runtime`` of ``edgekit run`` and ``edgekit verify``, and what another runtime than the
export's has to reach.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from edgekit.bundle import Bundle
from edgekit.bundle.proof import golden_failures
from edgekit.calib import photos as bundled_photos
from edgekit.comparison import Parity

from .conftest import EdgekitCall

CAT = Path(bundled_photos()[0])


@pytest.mark.parametrize("verb", ["run", "verify"])
def test_a_runtime_by_its_name(edgekit: EdgekitCall, bundle: Path, verb: str) -> None:
    photo = [CAT] if verb == "run" else []
    assert (
        edgekit(verb, bundle, *photo, "--runtime", "onnxruntime").out
        == edgekit(verb, bundle, *photo).out
    )

    result = edgekit(verb, bundle, *photo, "--runtime", "tflite")
    assert (result.code, result.out) == (2, "")
    assert "error: unknown runtime 'tflite'" in result.err
    assert "hint: one of onnxruntime, onnxruntime-cuda" in result.err


@pytest.mark.parametrize("verb", ["run", "verify"])
@pytest.mark.parametrize("runtime", ["onnxruntime-cuda", "onnxruntime-tensorrt"])
def test_a_missing_gpu_provider(
    edgekit: EdgekitCall, bundle: Path, verb: str, runtime: str
) -> None:
    result = edgekit(verb, bundle, *([CAT] if verb == "run" else []), "--runtime", runtime)
    assert (result.code, result.out) == (3, "")
    assert f"error: {runtime} cannot run here: the onnxruntime installed here has no" in result.err
    assert "hint: pip uninstall onnxruntime" in result.err


def test_the_runtime_is_in_the_result(edgekit: EdgekitCall, bundle: Path) -> None:
    assert (
        json.loads(edgekit("verify", bundle, "--runtime", "onnxruntime", "--json").out)["runtime"]
        == "onnxruntime"
    )


def _parity(sqnr: float, agreeing: int = 16) -> Parity:
    return Parity(16, 0.1, 0.01, 0.01, 0.999, sqnr, agreeing / 16, 1.0, 0)


@pytest.mark.parametrize(
    ("sqnr", "here", "elsewhere"),
    [
        (52.0, (), ()),
        (45.0, ("SQNR is 45.0 dB; at least 48.0 dB are needed to match the export",), ()),
        (
            39.0,
            ("SQNR is 39.0 dB; at least 48.0 dB are needed to match the export",),
            ("at least 40.0 dB are needed by the bundle's gate",),
        ),
    ],
)
def test_another_runtime_has_to_meet_the_gate(
    exported: Path, sqnr: float, here: tuple[str, ...], elsewhere: tuple[str, ...]
) -> None:
    manifest = Bundle.open(exported).manifest
    manifest = manifest.model_copy(
        update={"golden": manifest.golden.model_copy(update={"sqnr": 51.0})}
    )
    assert manifest.gate.sqnr == 40
    assert golden_failures(_parity(sqnr), manifest, elsewhere=False) == here
    found = golden_failures(_parity(sqnr), manifest, elsewhere=True)
    assert len(found) == len(elsewhere)
    assert all(part in whole for part, whole in zip(elsewhere, found, strict=True))


def test_without_a_gate_on_sqnr_another_runtime_has_to_match_the_export(exported: Path) -> None:
    manifest = Bundle.open(exported).manifest
    gate = manifest.gate.model_copy(update={"sqnr": None})
    manifest = manifest.model_copy(
        update={"gate": gate, "golden": manifest.golden.model_copy(update={"sqnr": 20.0})}
    )
    assert golden_failures(_parity(17.5), manifest, elsewhere=True) == ()
    assert golden_failures(_parity(16.5), manifest, elsewhere=True) == (
        "SQNR is 16.5 dB; at least 17.0 dB are needed to match the export",
    )


@pytest.mark.parametrize("elsewhere", [False, True])
def test_flips_and_nan_fail_in_every_runtime(exported: Path, elsewhere: bool) -> None:
    manifest = Bundle.open(exported).manifest
    assert (
        "4 of 16 golden images flip"
        in golden_failures(_parity(99, agreeing=12), manifest, elsewhere=elsewhere)[0]
    )
    broken = dataclasses.replace(_parity(99), nonfinite=3)
    assert golden_failures(broken, manifest, elsewhere=elsewhere) == (
        "3 outputs are NaN or infinite",
    )
