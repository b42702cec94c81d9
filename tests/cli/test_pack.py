"""``edgekit pack``, and the options of export for pixels, as a user types them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgekit.cli.options import parse_input
from edgekit.errors import InputError
from edgekit.pipeline.precision import Uint8

from .conftest import EdgekitCall


def test_packing_says_what_was_written(edgekit: EdgekitCall, lenet: Path, tmp_path: Path) -> None:
    out = tmp_path / "repository"
    shown = edgekit("pack", lenet, "--as", "triton", "--out", out)
    assert shown.code == 0
    gpu, cpu = shown.err.splitlines()
    assert gpu.startswith("! the INT8 model runs on the server's CPU") and "--backend" in gpu
    assert cpu.startswith("! an x86 server needs VNNI")
    assert all(Path(line).is_file() for line in shown.out.split())
    told = json.loads(edgekit("pack", lenet, "--as", "tar", "--out", tmp_path / "t", "--json").out)
    assert told["kind"] == "tar" and len(told["files"]) == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--as", "zip"), "cannot be packed as 'zip'"),
        (("--as", "tar", "--backend", "tensorrt"), "--backend is only for triton"),
        (("--as", "tar", "--batch", "4"), "--batch 4 cannot be used for tar"),
        (("--as", "triton", "--batch", "4"), "has a fixed batch of 1"),
        (("--as", "triton", "--backend", "tensorrt"), "contains no engine"),
    ],
)
def test_wrong_arguments(
    edgekit: EdgekitCall, lenet: Path, tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    result = edgekit("pack", lenet, "--out", tmp_path / "out", *arguments)
    assert (result.code, result.out) == (2, "")
    assert said in result.err and "hint: " in result.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--input", "uint16"), "invalid value for --input: uint16"),
        (("--layout", "nchw"), "--layout is for --input uint8 only"),
        (("--input", "uint8", "--layout", "hwc"), "invalid value for --layout: hwc"),
        (("--input", "uint8", "--channel-order", "abc"), "invalid value for --channel-order"),
        (("--input", "uint8", "--channel-order", "bgr"), "--channel-order bgr is for colour"),
    ],
)
def test_wrong_inputs_of_export(
    edgekit: EdgekitCall, tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    result = edgekit("export", "lenet5", "--out", tmp_path / "out", "--no-bench", *arguments)
    assert (result.code, result.out) == (2, "")
    assert said in result.err and "hint: " in result.err


def test_inputs_are_those_of_python() -> None:
    assert parse_input("float32", None, None) is None
    assert parse_input("uint8", None, None) == Uint8("nhwc", "rgb")
    assert parse_input("uint8", "NCHW", "bgr") == Uint8("nchw", "bgr")
    with pytest.raises(InputError, match="--channel-order is for --input uint8 only"):
        parse_input("float32", None, "rgb")
