"""What users give wrong, and what goes wrong while they wait: exit code, message, hint."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import save_file

import edgekit
from edgekit.cli.app import execute
from edgekit.models import create_model
from edgekit.sources.learning import read_log

from .conftest import write_digits

NETWORKS = Path(__file__).with_name("networks.py")
Trained = Callable[..., tuple[int, str]]


@pytest.fixture
def data(digits: Path, tmp_path: Path) -> Path:
    """A copy of one's own, to be damaged."""
    return Path(shutil.copytree(digits, tmp_path / "data"))


@pytest.fixture
def train(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Trained:
    """Trains for an epoch on the command line; gives its exit code and what stderr says."""

    def call(data: Path | str, *arguments: object, network: str = "lenet5") -> tuple[int, str]:
        given = [network, "--data", data, "--epochs", "1", "--out", tmp_path / "run", *arguments]
        if "--weights" not in arguments and network == "lenet5":
            given += ["--weights", "none"]
        code = execute(["train", *map(str, given)])
        err = capsys.readouterr().err
        assert "Traceback" not in err
        return code, err

    return call


def refused(result: tuple[int, str], *parts: str, code: int = 2) -> None:
    assert result[0] == code, result[1]
    assert [part for part in parts if part not in result[1]] == [], result[1]


def test_no_such_data(train: Trained, tmp_path: Path) -> None:
    refused(train(tmp_path / "nowhere"), "does not exist", "one subfolder per class")
    assert not (tmp_path / "run").exists()


def test_one_class_only(train: Trained, data: Path) -> None:
    for digit in (1, 2):
        shutil.rmtree(data / f"digit {digit}")
    refused(train(data), "only the class 'digit 0'", "two or more")


def test_an_empty_class_folder(train: Trained, data: Path) -> None:
    (data / "digit 3").mkdir()
    refused(train(data), "no images of 'digit 3'", "remove the class")


def test_images_beside_the_class_folders(train: Trained, data: Path) -> None:
    shutil.copy(data / "digit 0" / "00.png", data / "00.png")
    refused(train(data), "is not in the folder of a class")


def test_classes_that_differ(train: Trained, data: Path, tmp_path: Path) -> None:
    other = write_digits(tmp_path / "other", 2, 4)
    (other / "digit 1").rename(other / "digit one")
    refused(
        train(data, "--val", other),
        "the classes of training and validation differ",
        "only training has 'digit 1', 'digit 2'",
        "only validation has 'digit one'",
    )


def test_a_label_out_of_range(train: Trained, data: Path, tmp_path: Path) -> None:
    table, names = tmp_path / "t.csv", tmp_path / "names.txt"
    rows = [f"{path},{path.parent.name[-1]}" for path in sorted(data.rglob("*.png"))]
    table.write_text("file,label\n" + "\n".join([*rows, f"{rows[0].partition(',')[0]},7"]))
    names.write_text("zero\none\ntwo\n")
    refused(train(table, "--labels", names), "the network has no class '7'")


def test_unreadable_images_up_to_the_limit(train: Trained, data: Path, tmp_path: Path) -> None:
    (data / "digit 0" / "00.png").write_bytes(b"no image")
    refused(train(data), "1 of 60 images cannot be read", "limit of 1.0%", "raise --corrupt")
    shutil.rmtree(tmp_path / "run")
    code, err = train(data, "--corrupt", "0.05")
    assert code == 0
    assert "00.png is skipped: 00.png: not an image" in err


def test_a_place_that_is_taken(train: Trained, data: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mine.txt").touch()
    refused(train(data), "exists and is not a run", "choose another --out")
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["mine.txt"]


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="no folder that nobody can write")
def test_a_place_that_cannot_be_written(train: Trained, data: Path) -> None:
    refused(train(data, "--out", "/proc/run"), "/proc/run cannot be written", "another --out")


def test_images_for_training_and_validation(train: Trained, data: Path, tmp_path: Path) -> None:
    refused(
        train(data, "--val", data), "60 of the images are for training and for validation", "00.png"
    )
    assert not (tmp_path / "run").exists()


def test_a_table_with_other_columns(train: Trained, data: Path, tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text("path,class\n" + "".join(f"{p},a\n" for p in data.rglob("*.png")))
    refused(train(table), "t.csv has the columns 'path' and 'class'", "the columns file and label")


def test_a_folder_that_is_not_a_run(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for verb in ("--resume", "--qat"):
        code = execute(["train", verb, str(data)])
        refused((code, capsys.readouterr().err), "is not a run of training: it has no run.json")


def test_a_loss_that_is_not_finite(train: Trained, data: Path, tmp_path: Path) -> None:
    arguments = ("--epochs", "3", "--batch", "10", "--size", "16")
    result = train(data, *arguments, network=f"{NETWORKS}:poisoned")
    refused(
        result, "the loss is nan at step 6 (epoch 2)", "last good checkpoint",
        "lower --learning-rate", code=1,
    )  # fmt: skip
    run = tmp_path / "run"
    assert [line["epoch"] for line in read_log(run) if "validation_top1" in line] == [0]
    assert edgekit.export(run, out=tmp_path / "bundle", bench=False).bundle


def test_too_little_memory(train: Trained, data: Path) -> None:
    result = train(data, "--batch", "16", "--size", "16", network=f"{NETWORKS}:hungry")
    refused(
        result, "not enough memory for batches of 16 images of 16 pixels",
        "--batch 8 with --accumulate 2", code=3,
    )  # fmt: skip


def test_data_that_vanish(tmp_path: Path) -> None:
    data = write_digits(tmp_path / "data", 3, 40)

    class Removing:
        def stepped(self, epoch: int, done: int, total: int, loss: float) -> None:
            if data.exists():
                assert done < total
                shutil.rmtree(data)

        def finished(self, epoch: object, best: bool) -> None: ...

    config = edgekit.TrainConfig(epochs=1, batch=2)
    with pytest.raises(edgekit.InputError, match="was removed during the training") as caught:
        edgekit.train(
            "lenet5",
            data=data,
            out=tmp_path / "run",
            config=config,
            weights="none",
            watcher=Removing(),
        )
    assert "continues from the last checkpoint" in str(caught.value.hint)


def test_a_resumed_run_without_its_images(
    train: Trained, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(data)[0] == 0
    shutil.rmtree(data)
    for verb in ("--resume", "--qat"):
        code = execute(["train", verb, str(tmp_path / "run")])
        refused((code, capsys.readouterr().err), "are missing", "restore them")


def test_a_checkpoint_of_another_network(train: Trained, data: Path, tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    save_file(create_model("mobilenetv2_035").state_dict(), path)
    refused(train(data, "--weights", path), "does not fit the network")


def test_a_run_of_another_class_count(train: Trained, data: Path, tmp_path: Path) -> None:
    assert train(data)[0] == 0
    described = json.loads((tmp_path / "run" / "run.json").read_text())
    described["classes"].append("digit 3")
    (tmp_path / "run" / "run.json").write_text(json.dumps(described))
    with pytest.raises(edgekit.BadWeights, match="does not fit lenet5 with 4 classes"):
        edgekit.export(tmp_path / "run", out=tmp_path / "bundle")
    with pytest.raises(edgekit.InputError, match="does not fit lenet5 with 4 classes"):
        edgekit.resume(tmp_path / "run")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--epochs", "0"), "--epochs 0 is outside"),
        (("--batch", "1"), "--batch 1 is outside"),
        (("--transfer", "some"), "unknown --transfer 'some'"),
        (("--augment", "heavy"), "unknown --augment 'heavy'"),
        (("--progressive", "64"), "invalid value for --progressive: 64"),
        (("--progressive", "64:32"), "--progressive 64:32"),
        (("--val", "2"), "--val 2 is not a share"),
        (("--weights", "random"), "--weights random is not known"),
        (("--weights", "pretrained", "--mean", "0.5"), "--mean does not apply"),
        (("--resume", "runs/x"), "lenet5 has no effect with --resume"),
    ],
)
def test_wrong_arguments(
    train: Trained, data: Path, arguments: tuple[str, ...], message: str
) -> None:
    refused(train(data, *arguments), message)


@pytest.mark.parametrize("setting", [{"auxiliary": -1.0}, {"checkpoint_seconds": -1.0}])
def test_settings_of_python(setting: dict[str, Any]) -> None:
    with pytest.raises(edgekit.InputError, match="is outside 0"):
        edgekit.TrainConfig(**setting)


@pytest.mark.parametrize("flag", ["--no-flip", "--no-ema", "--label-smoothing=0.2", "--offline"])
def test_a_run_keeps_its_settings(capsys: pytest.CaptureFixture[str], flag: str) -> None:
    code = execute(["train", "--resume", "runs/x", flag])
    refused((code, capsys.readouterr().err), f"{flag.partition('=')[0]} has no effect")


@pytest.mark.parametrize("name", ["run.json", "last.pt", "examples.csv"])
def test_a_damaged_run(train: Trained, data: Path, tmp_path: Path, name: str) -> None:
    assert train(data)[0] == 0
    (tmp_path / "run" / name).write_bytes(b"\x80damaged\n\x00")
    with pytest.raises(edgekit.InputError, match="damaged"):
        edgekit.resume(tmp_path / "run")


def test_a_csv_file_is_named_itself(train: Trained, data: Path, tmp_path: Path) -> None:
    table = tmp_path / "l.csv"
    rows = [f"{path},{i}" for i, path in enumerate(sorted(data.rglob("*.png"))[:2])]
    table.write_text("file,label\n" + "\n".join(rows))
    refused(train(table), f"{table}: every class has one image")
