"""``edgekit blame``: compares bundles, graphs and networks."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgekit.bundle import Bundle

from .conftest import FACTORIES, EdgekitCall

NETWORK = f"{FACTORIES}:build"
LAYER = "features.2/Conv"


@pytest.fixture
def damaged(bundle: Path, tmp_path: Path) -> Path:
    """The bundle's graph with one weight rounded away to a few numbers."""
    model = onnx.load(str(bundle / "model.onnx"))
    tensor = next(t for t in model.graph.initializer if t.name.startswith("features.2.weight"))
    weight = numpy_helper.to_array(tensor)
    tensor.CopyFrom(
        numpy_helper.from_array((np.rint(weight * 12) / 12).astype(weight.dtype), tensor.name)
    )
    path = tmp_path / "damaged.onnx"
    onnx.save(model, str(path))
    return path


def test_a_bundle_and_a_damaged_graph(edgekit: EdgekitCall, bundle: Path, damaged: Path) -> None:
    result = edgekit("blame", bundle, damaged)
    assert result.code == 0, result.err
    lines = result.out.splitlines()
    assert lines[0].startswith(f"{LAYER} adds the most error: ") and "dB by itself" in lines[0]
    assert next(line for line in lines if line.startswith("   1  ")).split()[1] == LAYER
    assert any(line.startswith("outputs: SQNR ") and line.endswith("on 6 images") for line in lines)
    assert "note: FP16 is simulated by" in result.out


def test_a_network_and_its_bundle(edgekit: EdgekitCall, bundle: Path, photos: Path) -> None:
    for arguments in ((), ("--images", photos)):
        result = edgekit("blame", NETWORK, bundle, "--json", *arguments)
        assert result.code == 0, result.err
        found = json.loads(result.out)
        names = [layer["name"] for layer in found["layers"]]
        assert (
            names.index("features.0/Conv") < names.index(LAYER) < names.index("logits")
            and found["images"] == 6
        )
        assert all(layer["own"] == "inf" or layer["own"] > 55 for layer in found["layers"])
        assert sorted(layer["rank"] for layer in found["layers"]) == list(range(1, len(names) + 1))
        assert found["failures"] == [] and found["verdict"] and found["worst"]["rank"] == 1


def test_the_same_network_twice(edgekit: EdgekitCall, bundle: Path) -> None:
    result = edgekit("blame", bundle, bundle / "model.onnx")
    assert result.code == 0 and result.out.startswith("no layer differs: ")


def test_the_gate(edgekit: EdgekitCall, bundle: Path, damaged: Path) -> None:
    missed = edgekit("blame", bundle, damaged, "--gate", "sqnr=40")
    assert missed.code == 1 and "gate failed: SQNR " in missed.err and LAYER in missed.out
    assert edgekit("blame", bundle, damaged, "--gate", "sqnr=1").code == 0
    assert edgekit("blame", bundle, damaged, "--gate", "speed=1").code == 2


def test_the_limit_keeps_the_layers_with_most_error_in_order(
    edgekit: EdgekitCall, bundle: Path, damaged: Path
) -> None:
    lines = edgekit("blame", bundle, damaged, "--limit", "3").out.splitlines()
    table = lines[next(i for i, line in enumerate(lines) if line.startswith("adds")) + 1 :]
    rows = [line.split() for line in table[: table.index("")] if "not shown" not in line]
    assert sorted(row[0] for row in rows) == ["1", "2", "3"] and any(
        "layers that add less are not shown" in line for line in table
    )
    order = [
        layer["name"]
        for layer in json.loads(edgekit("blame", bundle, damaged, "--json").out)["layers"]
    ]
    assert [order.index(row[1]) for row in rows] == sorted(order.index(row[1]) for row in rows)


def test_a_graph_outside_its_bundle_has_its_preprocessing(
    edgekit: EdgekitCall, bundle: Path, photos: Path, tmp_path: Path
) -> None:
    graph = Path(shutil.copy(bundle / "model.onnx", tmp_path / "alone.onnx"))
    there, here = (
        json.loads(edgekit("blame", NETWORK, g, "--images", photos, "--json").out)
        for g in (bundle, graph)
    )
    assert there["layers"] == here["layers"] and here["cautions"] == there["cautions"]


def test_a_graph_without_preprocessing(
    edgekit: EdgekitCall, bundle: Path, photos: Path, tmp_path: Path
) -> None:
    model = onnx.load(str(bundle / "model.onnx"))
    del model.metadata_props[:]
    path = tmp_path / "bare.onnx"
    onnx.save(model, str(path))
    assumed = edgekit("blame", path, path, "--images", photos)
    assert assumed.code == 0 and "note: the preprocessing of bare.onnx is unknown" in assumed.out
    assert (
        "is not known"
        not in edgekit(
            "blame", path, path, "--images", photos, "--mean", "0,0,0", "--std", "1,1,1"
        ).out
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nowhere/bundle", NETWORK), "nowhere/bundle does not exist"),
        (("nowhere.onnx", NETWORK), "nowhere.onnx: no such file"),
        (("mobilenetv9", NETWORK), "unknown network 'mobilenetv9'"),
        ((NETWORK, NETWORK, "--images", "nowhere"), "nowhere does not exist"),
        ((NETWORK, NETWORK, "--bound", "nan"), "invalid value for --bound: nan"),
    ],
)
def test_wrong_input(edgekit: EdgekitCall, arguments: tuple[str, ...], words: str) -> None:
    result = edgekit("blame", *arguments)
    assert result.code == 2 and words in result.err and "Traceback" not in result.err


def test_a_damaged_bundle_is_refused(edgekit: EdgekitCall, bundle: Path) -> None:
    file = Bundle.open(bundle).artifact.path
    file.write_bytes(file.read_bytes()[:-9])
    result = edgekit("blame", NETWORK, bundle)
    assert result.code == 2 and f"{bundle} is damaged: model.onnx" in result.err


def test_other_networks_have_nothing_in_common(edgekit: EdgekitCall, bundle: Path) -> None:
    result = edgekit("blame", "lenet5", bundle)
    assert result.code == 2, result.out
