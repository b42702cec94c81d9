"""The bundle folder, without a network: golden images, file list, labels, damage."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgekit.bundle import GOLDEN, LABELS, MANIFEST, MODEL, Bundle, Golden, inventory, save_golden
from edgekit.bundle.manifest import SCHEMA_VERSION
from edgekit.errors import BadBundle

GIVEN = Golden(
    np.arange(2 * 3 * 4 * 4, dtype=np.float32).reshape(2, 3, 4, 4),
    np.array([[1, 2, 3], [3, 2, 1]], np.float32),
    ("cat.jpg", "Käfer.jpg"),
)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A bundle with a manifest and any file as its graph."""
    folder = tmp_path / "bundle"
    folder.mkdir()
    (folder / MODEL).write_bytes(b"a graph")
    (folder / LABELS).write_text("cat\nbeetle\ndog\n")
    save_golden(folder / GOLDEN, GIVEN)
    preprocessing = {
        "resize": 1.0,
        "interpolation": "bilinear",
        "mean": [0.5] * 3,
        "std": [0.5] * 3,
    }
    manifest = {
        "schema_version": SCHEMA_VERSION,
        "edgekit": "0.1.0",
        "network": {"name": "net", "origin": "factory"},
        "weights": {"source": "factory", "trained": True},
        "input": {
            "name": "input",
            "shape": ["batch", 3, 4, 4],
            "dtype": "float32",
            "channels": 3,
            "height": 4,
            "width": 4,
            "layout": "NCHW",
            **preprocessing,
        },
        "output": {"name": "logits", "classes": 3, "kind": "logits"},
        "precision": "fp32",
        "opset": 17,
        "gate": {},
        "parity": [],
        "parity_images": {"source": "here", "count": 2, "sha256": "0"},
        "golden": {"images": 2, "flips": 0, "sqnr": None},
        "tools": {},
        "files": {name: entry.model_dump() for name, entry in inventory(folder).items()},
    }
    (folder / MANIFEST).write_text(json.dumps(manifest))
    return folder


def relist(bundle: Path) -> None:
    """Updates the manifest for the current files."""
    manifest = json.loads((bundle / MANIFEST).read_text())
    manifest["files"] = {name: entry.model_dump() for name, entry in inventory(bundle).items()}
    (bundle / MANIFEST).write_text(json.dumps(manifest))


def test_a_valid_bundle(bundle: Path) -> None:
    opened = Bundle.open(bundle)
    assert opened.damage() == []
    assert opened.labels() == ["cat", "beetle", "dog"]
    golden = opened.golden()
    np.testing.assert_array_equal(golden.inputs, GIVEN.inputs)
    np.testing.assert_array_equal(golden.outputs, GIVEN.outputs)
    assert golden.names == GIVEN.names
    assert str(opened.artifact.inputs[0]) == "input: float32[batch, 3, 4, 4]"
    assert opened.artifact.outputs[0].shape == ("batch", 3)
    assert opened.manifest.input.spec().shape(1) == (1, 3, 4, 4)
    opened.check(MODEL)


def test_the_file_list_has_every_file_but_the_manifest(bundle: Path) -> None:
    (bundle / "engines").mkdir()
    (bundle / "engines" / "a.engine").write_bytes(b"12345")
    found = inventory(bundle)
    assert sorted(found) == ["engines/a.engine", GOLDEN, LABELS, MODEL]
    assert found["engines/a.engine"].bytes == 5
    assert found[MODEL].sha256 == hashlib.sha256(b"a graph").hexdigest()


def test_a_replaced_graph(bundle: Path) -> None:
    (bundle / MODEL).write_bytes(b"A graph")  # as long as the other
    opened = Bundle.open(bundle)
    assert opened.damage() == ["model.onnx is not the file that was exported"]
    with pytest.raises(
        BadBundle, match=r"is damaged: model\.onnx is not the file that was exported"
    ):
        opened.check(MODEL)
    (bundle / MODEL).unlink()
    with pytest.raises(BadBundle, match=r"is damaged: model\.onnx is missing"):
        opened.check(MODEL)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda f: f.write_bytes(b""),
        lambda f: f.write_bytes(b"no archive"),
        lambda f: f.write_bytes(f.read_bytes()[:200]),
        lambda f: np.savez(f, inputs=GIVEN.inputs),
        lambda f: np.savez(
            f,
            inputs=np.array([{"a": 1}], dtype=object),
            outputs=GIVEN.outputs,
            names=np.array(["x"]),
        ),
    ],
    ids=["empty", "text", "cut", "without outputs", "objects"],
)
def test_golden_images_that_cannot_be_read(bundle: Path, spoil: Callable[[Path], object]) -> None:
    """A file that the manifest lists can still have wrong content."""
    spoil(bundle / GOLDEN)
    with pytest.raises(
        BadBundle, match=r"is damaged: golden\.npz is not the file that was exported"
    ):
        Bundle.open(bundle).golden()
    relist(bundle)
    with pytest.raises(BadBundle, match=r"golden\.npz does not match manifest\.json: "):
        Bundle.open(bundle).golden()
    (bundle / GOLDEN).unlink()
    with pytest.raises(BadBundle, match=r"is damaged: golden\.npz is missing"):
        Bundle.open(bundle).golden()


def test_labels(bundle: Path) -> None:
    (bundle / LABELS).write_text("cat\n")
    with pytest.raises(BadBundle, match=r"labels\.txt is not the file that was exported"):
        Bundle.open(bundle).labels()
    relist(bundle)
    with pytest.raises(BadBundle, match=r"labels\.txt names 1 classes, the network has 3"):
        Bundle.open(bundle).labels()
    (bundle / LABELS).unlink()
    relist(bundle)
    assert Bundle.open(bundle).labels() is None


def test_a_newer_schema_is_reported_before_other_errors(bundle: Path) -> None:
    (bundle / MANIFEST).write_text('{"schema_version": 99, "everything": "else"}')
    with pytest.raises(
        BadBundle, match=f"has schema 99; this edgekit reads {SCHEMA_VERSION}"
    ) as caught:
        Bundle.open(bundle)
    assert caught.value.hint == "use the version of edgekit that wrote it"


def test_a_file_is_not_a_bundle(bundle: Path) -> None:
    with pytest.raises(BadBundle, match="is not a folder"):
        Bundle.open(bundle / MODEL)
    with pytest.raises(BadBundle, match=r"is not a bundle: it has no manifest\.json"):
        Bundle.open(bundle.parent)


def test_a_bundle_that_is_replaced_while_it_is_read_is_not_called_damaged(bundle: Path) -> None:
    opened = Bundle.open(bundle)
    (bundle / MODEL).write_bytes(b"a newer graph")
    relist(bundle)
    for ask in (opened.damage, opened.check_whole, lambda: opened.check(MODEL)):
        with pytest.raises(BadBundle, match="was replaced while it was read") as refused:
            ask()
        assert refused.value.hint == "run the command again"
    assert Bundle.open(bundle).damage() == []


def test_another_export_in_its_place_is_found_and_other_engines_are_not(bundle: Path) -> None:
    opened = Bundle.open(bundle)
    (bundle / "engines").mkdir()
    (bundle / "engines" / "a.engine").write_bytes(b"12345")
    relist(bundle)
    opened.check_current()
    (bundle / MODEL).write_bytes(b"a newer graph")
    relist(bundle)
    with pytest.raises(BadBundle, match="was replaced while it was read"):
        opened.check_current()
