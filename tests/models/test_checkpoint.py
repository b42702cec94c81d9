"""Checkpoints in every common form, and some that must not be loaded."""

from __future__ import annotations

import hashlib
import os
import random
import zipfile
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from edgekit.models.pretrained import checkpoint
from edgekit.models.pretrained.checkpoint import (
    load_checkpoint,
)
from edgekit.models.pretrained.state_dict import SAVE_TENSORS, CheckpointError, read_state_dict
from tests.models.checkpoints import Net, is_same, refused, state_of


@pytest.mark.parametrize("name", ["net.pt", "net.pth", "net.bin", "net.safetensors", "legacy.pth"])
def test_every_format_is_read(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if path.suffix == ".safetensors":
        save_file(state_of(), path)
    else:
        torch.save(state_of(), path, _use_new_zipfile_serialization=name != "legacy.pth")
    assert is_same(read_state_dict(path), state_of())
    net = Net()
    provenance = load_checkpoint(net, path)
    assert is_same(net.state_dict(), state_of())
    assert provenance == checkpoint.Provenance(
        name, hashlib.sha256(path.read_bytes()).hexdigest(), str(path)
    )


RAW, AVERAGED = state_of(), {key: value + 1 for key, value in state_of().items()}


@pytest.mark.parametrize(
    "content",
    [
        {"state_dict": AVERAGED, "epoch": 3, "optimizer": {"param_groups": []}},
        {"model": AVERAGED, "epoch": torch.tensor(3)},
        {"model_state_dict": AVERAGED},
        {"state_dict": RAW, "state_dict_ema": AVERAGED},
        {
            "model_ema": {
                "n_averaged": torch.tensor(9),
                **{f"module.{key}": value for key, value in AVERAGED.items()},
            },
            "model": RAW,
        },
        {"model": RAW, "ema": {"decay": 0.999, "state_dict": AVERAGED}},
        {"model": AVERAGED, "ema": {"decay": 0.999}},
        {"state_dict": OrderedDict((f"model.{key}", value) for key, value in AVERAGED.items())},
        {f"module._orig_mod.{key}": value for key, value in AVERAGED.items()},
        {f"_orig_mod.module.model.{key}": value for key, value in AVERAGED.items()},
    ],
)
def test_wrappers_and_prefixes_come_off_and_averages_win(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "net.pth")
    assert is_same(read_state_dict(tmp_path / "net.pth"), AVERAGED)


def test_a_prefix_that_the_network_has_stays(tmp_path: Path) -> None:
    class Wrapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = Net()

    state = state_of(Wrapped())
    torch.save({f"module.{key}": value for key, value in state.items()}, tmp_path / "net.pth")
    net = Wrapped()
    load_checkpoint(net, tmp_path / "net.pth")
    assert is_same(net.state_dict(), state)


class Malicious:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, ...]]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("new_format", [True, False])
def test_a_pickle_that_would_run_code_is_refused(tmp_path: Path, new_format: bool) -> None:
    path, proof = tmp_path / "net.pth", tmp_path / "ran"
    torch.save(
        {"state_dict": {**state_of(), "extra": Malicious(proof)}},
        path,
        _use_new_zipfile_serialization=new_format,
    )
    error = refused(lambda: read_state_dict(path), "would run code, which is refused", "mkdir")
    assert error.hint is not None
    assert "state_dict()" in error.hint
    assert not proof.exists()
    torch.load(path, weights_only=False)  # it is a real one
    assert proof.exists()


def test_a_whole_module_is_refused_and_the_hint_says_what_to_save(tmp_path: Path) -> None:
    torch.save(nn.Sequential(nn.Linear(2, 2)), tmp_path / "net.pt")
    error = refused(
        lambda: read_state_dict(tmp_path / "net.pt"), "torch.nn.modules", "which is refused"
    )
    assert error.hint == SAVE_TENSORS


def test_a_torchscript_program_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(
        tmp_path / "net.pt", "w"
    ) as archive:  # the layout that torch.jit.save writes
        archive.writestr("net/code/__torch__.py", "")
    error = refused(lambda: read_state_dict(tmp_path / "net.pt"), "TorchScript")
    assert error.hint == SAVE_TENSORS


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("absent.pth", None, "there is no checkpoint"),
        ("empty.pth", b"", "is empty"),
        ("empty.safetensors", b"", "is empty"),
        (
            "text.pth",
            b"not a checkpoint\n" * 9,
            "neither a .safetensors file nor what torch.save writes",
        ),
        ("text.safetensors", b"not a checkpoint\n" * 9, "not a safetensors file"),
        ("photo.pt", b"\xff\xd8\xff\xe0" + bytes(99), "neither"),
    ],
)
def test_what_is_no_checkpoint(
    tmp_path: Path, name: str, content: bytes | None, expected: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    refused(lambda: read_state_dict(tmp_path / name), expected, name)


@pytest.mark.parametrize("content", [[1, 2], {"epoch": 1}, {}, {"state_dict": {"lr": 0.1}}])
def test_a_file_without_a_state_dict(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "net.pth")
    refused(lambda: read_state_dict(tmp_path / "net.pth"), "holds no state dict")


def test_an_entry_that_is_no_tensor(tmp_path: Path) -> None:
    torch.save({**state_of(), "epoch": 3}, tmp_path / "net.pth")
    refused(
        lambda: read_state_dict(tmp_path / "net.pth"), "the entry 'epoch' is not a tensor but int"
    )


@pytest.mark.parametrize("name", ["net.pth", "legacy.pth", "net.safetensors"])
def test_damage_anywhere_is_an_error_of_ours_or_harmless(tmp_path: Path, name: str) -> None:
    path, damaged = tmp_path / name, tmp_path / f"damaged-{name}"
    if path.suffix == ".safetensors":
        save_file(state_of(), path)
    else:
        torch.save(state_of(), path, _use_new_zipfile_serialization=name != "legacy.pth")
    whole, dice, refused = path.read_bytes(), random.Random(0), 0
    for _ in range(300):
        content = bytearray(
            whole[: dice.randrange(1, len(whole))] if dice.random() < 0.3 else whole
        )
        for _ in range(dice.choice((1, 3, 20))):
            content[dice.randrange(len(content))] = dice.randrange(256)
        damaged.write_bytes(content)
        try:
            load_checkpoint(Net(), damaged)
        except CheckpointError:
            refused += 1
    assert refused > 150
