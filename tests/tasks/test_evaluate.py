"""Accuracy on labelled images: counted, resumed, compared; and bad data."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest
from PIL import Image

import edgekit
from edgekit.images.labelled import imagenet_wnids, open_labelled
from edgekit.runtimes.base import Array
from edgekit.runtimes.onnxruntime import OnnxRuntimeSession

ROOT = Path(__file__).resolve().parents[2]
SIDE, COLUMNS = 28, 16
FACTORY = """
from torch import nn

def build():
    return nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10)
    )
"""


@pytest.fixture(scope="module")
def garments(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 test images of Fashion-MNIST in a folder for each class, named as the bundle names them."""
    root = tmp_path_factory.mktemp("garments")
    sheet = Image.open(ROOT / "tests/zoo/fashion_mnist.png")
    digits = (ROOT / "tests/zoo/fashion_mnist.txt").read_text().split()
    labels = [int(d) for word in digits for d in word][:60]
    from edgekit.models.pretrained.weights import WEIGHTS

    names = WEIGHTS["lenet5"].labels
    for i, label in enumerate(labels):
        x, y = SIDE * (i % COLUMNS), SIDE * (i // COLUMNS)
        folder = root / names[label].replace("/", "-")
        folder.mkdir(exist_ok=True)
        sheet.crop((x, y, x + SIDE, y + SIDE)).save(folder / f"{i:03}.png")
    return root


def by_number(garments: Path, out: Path) -> Path:
    """The same images in a CSV file, with class numbers."""
    from edgekit.models.pretrained.weights import WEIGHTS

    names = [name.replace("/", "-") for name in WEIGHTS["lenet5"].labels]
    files = sorted(garments.rglob("*.png"), key=lambda path: path.name)
    rows = [f"{path},{names.index(path.parent.name)}" for path in files]
    out.write_text("file,label\n" + "\n".join(rows) + "\n")
    return out


def test_lenet_names_garments(lenet: Path, garments: Path, tmp_path: Path) -> None:
    found = edgekit.evaluate(lenet, by_number(garments, tmp_path / "labels.csv"))
    assert found.images == 60 and found.accuracy.top1.of == 60
    assert found.accuracy.top1.value > 0.8  # 0.9 on all 10,000
    assert found.accuracy.top5.count >= found.accuracy.top1.count
    low, high = found.accuracy.top1.interval
    assert low < found.accuracy.top1.value < high
    assert found.compared is None and found.skipped == {}


def test_a_stopped_run_continues(lenet: Path, garments: Path, tmp_path: Path) -> None:
    data, answers = by_number(garments, tmp_path / "labels.csv"), tmp_path / "answers.jsonl"
    whole = edgekit.evaluate(lenet, data, answers=answers)
    lines = answers.read_text().splitlines()
    assert len(lines) == 61
    answers.write_text("\n".join(lines[:21]) + "\n" + lines[21][: len(lines[21]) // 2])
    again = edgekit.evaluate(lenet, data, answers=answers)
    assert (again.resumed, again.images) == (20, 60)
    assert again.accuracy == whole.accuracy
    assert answers.read_text().splitlines() == lines


@pytest.mark.parametrize(
    "line",
    [
        '{"image": "a", "best"',
        "[" * 5000,
        "[]",
        '{"image": "a"}',
        '{"image": 1, "best": [[1]]}',
        '{"image": "a", "best": [[]]}',
        '{"image": "a", "best": [[10]]}',
        '{"image": "a", "best": [[true]]}',
        '{"image": "a", "best": [[1], [1]]}',
    ],
)
def test_a_damaged_answer_is_named_and_no_answer_is_lost(
    lenet: Path, garments: Path, tmp_path: Path, line: str
) -> None:
    data, answers = by_number(garments, tmp_path / "l.csv"), tmp_path / "answers.jsonl"
    edgekit.evaluate(lenet, data, answers=answers, images=4)
    lines = answers.read_text().splitlines()
    damaged = "\n".join([*lines[:2], line, *lines[3:], ""])
    answers.write_text(damaged)
    with pytest.raises(edgekit.InputError, match=r"line 3 of .* is damaged"):
        edgekit.evaluate(lenet, data, answers=answers, images=4)
    assert answers.read_text() == damaged


def test_answers_belong_to_the_same_data_in_every_folder(
    lenet: Path, garments: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, answers = by_number(garments, tmp_path / "l.csv"), tmp_path / "answers.jsonl"
    edgekit.evaluate(lenet, data, answers=answers, images=4)
    monkeypatch.chdir(tmp_path)
    again = edgekit.evaluate(lenet.absolute(), "l.csv", answers=answers, images=4)
    assert again.resumed == 4


def test_answers_of_another_run_are_refused(lenet: Path, garments: Path, tmp_path: Path) -> None:
    answers = tmp_path / "answers.jsonl"
    answers.write_text(json.dumps({"some": "thing"}) + "\n")
    with pytest.raises(edgekit.InputError, match="another run"):
        edgekit.evaluate(lenet, by_number(garments, tmp_path / "l.csv"), answers=answers)
    assert json.loads(answers.read_text()) == {"some": "thing"}


@pytest.mark.parametrize("kind", ["graph", "factory"])
def test_answers_of_a_changed_reference_are_refused(
    lenet: Path, garments: Path, tmp_path: Path, kind: str
) -> None:
    answers, file = tmp_path / "answers.jsonl", tmp_path / "ref.py"
    data, reference = by_number(garments, tmp_path / "l.csv"), f"{file}:build"
    if kind == "graph":
        reference = shutil.copy(lenet / "model.onnx", file := tmp_path / "ref.onnx")
    else:
        file.write_text(FACTORY)

    def run() -> edgekit.Evaluation:
        return edgekit.evaluate(lenet, data, reference=str(reference), answers=answers, images=4)

    assert (run().resumed, run().resumed) == (0, 4)
    with file.open("ab") as changed:
        changed.write(b"\n")
    with pytest.raises(edgekit.InputError, match="another run"):
        run()


def test_a_file_that_holds_no_answers_is_left_alone(
    lenet: Path, garments: Path, tmp_path: Path
) -> None:
    photo = Path(shutil.copy(next(garments.rglob("*.png")), tmp_path / "mine.png"))
    before = photo.read_bytes()
    with pytest.raises(edgekit.InputError, match="something else"):
        edgekit.evaluate(lenet, by_number(garments, tmp_path / "l.csv"), answers=photo)
    assert photo.read_bytes() == before


def test_a_reference_gives_a_paired_test(lenet: Path, garments: Path, tmp_path: Path) -> None:
    data = by_number(garments, tmp_path / "labels.csv")
    found = edgekit.evaluate(lenet, data, reference="lenet5", images=30)
    assert found.images == 30 and found.compared is not None
    assert found.compared.candidate == found.accuracy
    assert abs(found.compared.lost) <= 10
    assert 0 < found.to_json()["compared"]["p"] <= 1


def test_an_image_that_cannot_be_read_is_skipped(
    lenet: Path, garments: Path, tmp_path: Path
) -> None:
    root = Path(shutil.copytree(garments, tmp_path / "garments"))
    broken = next(root.rglob("*.png"))
    broken.write_bytes(b"nothing")
    table = by_number(root, tmp_path / "labels.csv")
    found = edgekit.evaluate(lenet, table)
    assert found.images == 59 and list(found.skipped) == [str(broken.relative_to(tmp_path))]


def test_classes_by_name_and_by_wordnet_id(tmp_path: Path) -> None:
    wnids = imagenet_wnids()
    assert len(wnids) == 1000 and wnids == sorted(wnids) and wnids[285] == "n02124075"
    for label in ("n02124075", "285", "Egyptian Cat"):
        (tmp_path / label).mkdir()
        Image.new("RGB", (8, 8)).save(tmp_path / label / "x.png")
    names = [f"class {i}" for i in range(1000)]
    names[285] = "Egyptian cat"
    assert set(open_labelled(tmp_path, names, 1000).labels) == {285}


def test_numbers_that_are_names_are_no_positions(tmp_path: Path) -> None:
    names = [str(i) for i in range(1, 11)]
    (tmp_path / "1").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "1" / "x.png")
    assert open_labelled(tmp_path, names, 10).labels == (0,)
    (tmp_path / "1").rename(tmp_path / "0")
    for told in (names, [*names[:9], "other"]):
        with pytest.raises(edgekit.InputError, match="no class '0'"):
            open_labelled(tmp_path, told, 10)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "lists no images"),
        ("file,label\n", "lists no images"),
        ("a.png\n", "row 1 has one column"),
        ("a.png,zebra\n", "no class 'zebra'"),
        ("a.png,10\n", "no class '10'"),
        ("a.png,-1\n", "no class '-1'"),
    ],
)
def test_tables_that_cannot_be_used(lenet: Path, tmp_path: Path, text: str, message: str) -> None:
    table = tmp_path / "labels.csv"
    table.write_text(text)
    with pytest.raises(edgekit.InputError, match=message) as caught:
        edgekit.evaluate(lenet, table)
    assert caught.value.hint


def test_data_that_is_not_there(lenet: Path, tmp_path: Path) -> None:
    with pytest.raises(edgekit.BadImage, match="does not exist"):
        edgekit.evaluate(lenet, tmp_path / "nothing")
    (tmp_path / "flat").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "flat" / "x.png")
    with pytest.raises(edgekit.InputError, match="is not in the folder of a class"):
        edgekit.evaluate(lenet, tmp_path / "flat")


def test_static_batches_are_filled(
    garments: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """30 images, one of them broken, are answered in 8 runs of a static batch of 4; parity runs 6
    photos in two.
    """
    data = by_number(Path(shutil.copytree(garments, tmp_path / "copy")), tmp_path / "labels.csv")
    Path(data.read_text().splitlines()[3].split(",")[0]).write_bytes(b"nothing")
    seen: list[int] = []
    run = OnnxRuntimeSession.run

    def counted(self: OnnxRuntimeSession, feeds: Mapping[str, Array]) -> dict[str, Array]:
        seen.extend(len(images) for images in feeds.values())
        return run(self, feeds)

    told = []
    for batch, runs in ((1, 29), (4, 8)):
        bundle = tmp_path / f"batch-{batch}"
        edgekit.export("lenet5", batch=batch, out=bundle, bench=False)
        monkeypatch.setattr(OnnxRuntimeSession, "run", counted)
        seen.clear()
        answers = tmp_path / f"batch-{batch}.jsonl"
        found = edgekit.evaluate(bundle, data, answers=answers, images=30)
        assert seen == [batch] * runs and found.images == 29
        told.append((found.accuracy, found.skipped, answers.read_text().splitlines()[1:]))
    assert len(told[0][2]) == 29 and told[0] == told[1]
    seen.clear()
    report = edgekit.parity(tmp_path / "batch-1", tmp_path / "batch-4", count=6)
    assert report.ok and report.images == 6 and seen == [1] * 6 + [4] * 2
