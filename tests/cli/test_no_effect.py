"""Options that would have no effect, or that do not fit what they are given with, are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from .conftest import FACTORIES, EdgekitCall

TRAIN = ("train", "lenet5", "--data", "nowhere", "--out", "run")


@pytest.mark.parametrize(
    ("options", "message", "hint"),
    [
        (
            ("--transfer", "all", "--unfreeze", "2"),
            "--unfreeze has no effect without --transfer last",
            "add --transfer last, or remove --unfreeze",
        ),
        (
            ("--magnitude", "20", "--augment", "light"),
            "--magnitude has no effect without --augment standard",
            "add --augment standard, or remove --magnitude",
        ),
        (
            ("--magnitude", "20", "--augment", "standard", "--progressive", "16:32"),
            "--magnitude has no effect with --progressive",
            "remove --magnitude, or --progressive",
        ),
        (
            ("--dropout", "0.1", "--progressive", "16:32"),
            "--dropout has no effect with --progressive",
            "remove --dropout, or --progressive",
        ),
    ],
)
def test_training(edgekit: EdgekitCall, options: tuple[str, ...], message: str, hint: str) -> None:
    result = edgekit(*TRAIN, *options)
    assert result.code == 2
    assert result.err.startswith(f"error: {message}")
    assert result.err.endswith(f"\n\nhint: {hint}\n")


@pytest.mark.parametrize("options", [("--tolerance", "0.1"), ("--other-machine",)])
def test_a_bench_without_an_earlier_one(
    edgekit: EdgekitCall, bundle: Path, options: tuple[str, ...]
) -> None:
    result = edgekit("bench", bundle, "--no-history", *options)
    assert (result.code, result.out) == (2, "")
    assert result.err == (
        f"error: {options[0]} has no effect without --compare\n\n"
        f"hint: add --compare LAST, or remove {options[0]}\n"
    )


def test_the_shortest_long_load_is_a_number_that_is_accepted(
    edgekit: EdgekitCall, bundle: Path
) -> None:
    result = edgekit("bench", bundle, "--no-history", "--sustained", "0.05")
    assert result.code == 2
    assert "0.07" in result.err


@pytest.mark.parametrize("option", ["--mean", "--std"])
def test_published_weights_keep_their_normalization(
    edgekit: EdgekitCall, tmp_path: Path, option: str
) -> None:
    out = tmp_path / "bundle"
    result = edgekit("export", "lenet5", option, "0.9", "--no-bench", "--out", out)
    assert result.code == 2
    assert f"error: {option} does not apply to pretrained weights" in result.err
    assert f"hint: remove {option}, or give --weights a file" in result.err
    assert not out.exists()


def test_the_normalization_of_published_weights_may_be_given(
    edgekit: EdgekitCall, tmp_path: Path
) -> None:
    from edgekit.models.pretrained.weights import WEIGHTS

    own = WEIGHTS["lenet5"].transform
    result = edgekit(
        *("export", "lenet5", "--no-bench", "--out", tmp_path / "bundle"),
        *("--mean", own.mean[0], "--std", own.std[0]),
    )
    assert result.code == 0, result.err


def test_a_sweep_cannot_normalize_pixels_for_your_own_network(
    edgekit: EdgekitCall, tmp_path: Path
) -> None:
    out = tmp_path / "sweep"
    network = f"{FACTORIES}:build"
    result = edgekit("sweep", f"lenet5,{network}", "--input", "uint8", "--out", out)
    assert result.code == 2
    assert f"the preprocessing of {network} is unknown" in result.err
    assert "hint: remove --input, or export this network alone" in result.err
    assert not out.exists()


def test_a_folder_as_a_network(
    edgekit: EdgekitCall, bundle: Path, photos: Path, tmp_path: Path
) -> None:
    result = edgekit("export", bundle, "--fp16", "--out", tmp_path / "again")
    assert result.code == 2
    assert f"error: {bundle} is a bundle, not a network" in result.err
    assert f"hint: give its network, or {bundle / 'model.onnx'} if" in result.err
    result = edgekit("export", photos, "--fp16", "--out", tmp_path / "again")
    assert f"error: {photos} is a folder, not a network" in result.err


def test_the_batches_of_a_sweep_need_a_dynamic_batch(edgekit: EdgekitCall, bundle: Path) -> None:
    result = edgekit("bench", bundle, "--no-history", "--batch-sweep", "1,4")
    assert result.code == 2
    assert "cannot run 4 images at once, which --batch-sweep requires" in result.err
    assert result.err.endswith("\n\nhint: export it with --batch dynamic\n")


@pytest.mark.parametrize("verb", ["parity", "blame"])
def test_a_comparison_names_no_option_that_it_does_not_have(
    edgekit: EdgekitCall, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, verb: str
) -> None:
    monkeypatch.setenv("EDGEKIT_OFFLINE", "1")
    monkeypatch.setenv("EDGEKIT_CACHE", str(tmp_path))
    result = edgekit(verb, "lenet5", "shufflenetv2_x0_5")
    assert result.code == 3
    assert "no source has the weights" in result.err
    assert "weights`" not in result.err and "--weights" not in result.err
    assert result.err.endswith("export it with weights of your own and give that bundle\n")


def test_a_comparison_gives_mean_and_std_only_to_graphs_and_factories(
    edgekit: EdgekitCall, lenet: Path
) -> None:
    result = edgekit("parity", "lenet5", lenet, "--mean", "0.5", "--std", "0.5")
    assert "does not apply to pretrained weights" not in result.err
    assert result.code == 0, result.err
