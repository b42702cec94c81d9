"""The connection to the process of PyTorch: how it starts, and what happens if it fails, dies or
does not answer.
"""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from edgekit.errors import EnvironmentLacks


def python(program: str) -> str:
    """A command that runs a program in place of torch_side."""
    return shlex.join([sys.executable, "-c", program])


ANSWERING = "import sys, os, json\nfor line in sys.stdin: print(json.dumps({answer}), flush=True)"


def test_another_python_is_started_without_this_ones_paths(
    gpu: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LD_LIBRARY_PATH", "/nowhere")
    monkeypatch.setenv("KEPT", "yes")
    program = ANSWERING.format(
        answer="{key: os.environ.get(key) for key in ('LD_LIBRARY_PATH', 'PYTHONPATH', 'KEPT')}"
    )
    with gpu.link.TorchSide(python(program)) as side:
        assert side.about == {"LD_LIBRARY_PATH": None, "PYTHONPATH": None, "KEPT": "yes"}
    assert not side.alive


def test_a_missing_python(gpu: SimpleNamespace) -> None:
    with pytest.raises(EnvironmentLacks, match="/nowhere/python cannot be started: No such file"):
        gpu.link.TorchSide("/nowhere/python")


def test_a_python_without_torch_says_why(gpu: SimpleNamespace) -> None:
    with pytest.raises(
        EnvironmentLacks,
        match=r"PyTorch cannot run here: PyTorch's process ended \(1\): no torch in here",
    ):
        gpu.link.TorchSide(python("import sys; sys.exit('no torch in here')"))


def test_a_failed_command_does_not_end_the_process(gpu: SimpleNamespace) -> None:
    program = ANSWERING.format(answer="{'error': 'of no use'} if 'bad' in line else {}")
    with gpu.link.TorchSide(python(program)) as side:
        with pytest.raises(gpu.link.TorchFailed, match="of no use"):
            side.order("bad")
        assert side.alive
        assert side.order("good") == {}


def test_a_silent_process_is_killed(gpu: SimpleNamespace) -> None:
    program = (
        "import sys\nsys.stdin.readline(); print('{}', flush=True)\nfor line in sys.stdin: pass"
    )
    with gpu.link.TorchSide(python(program)) as side:
        with pytest.raises(gpu.link.TorchFailed, match="no answer to candidate within 0 s"):
            side.order("candidate", wait=0.0)
        with pytest.raises(gpu.link.TorchFailed, match="ended"):
            side.order("close")
        assert not side.alive


def test_commands_run_a_network_of_the_zoo(gpu: SimpleNamespace, tmp_path: Path) -> None:
    import torch

    side = gpu.torch_side.Side("cpu")
    golden = str(tmp_path / "golden.npz")
    np.savez(
        golden, inputs=np.random.default_rng(0).normal(size=(16, 1, 28, 28)).astype(np.float32)
    )
    assert side.answer({"do": "open", "network": "lenet5", "golden": golden, "batch": 3}) == {
        "parameters": 61706
    }
    made = side.answer({"do": "candidate", "kind": "eager fp16"})
    assert made["sqnr"] > 40 and made["seconds"] > 0
    candidate = side.candidates["eager fp16"]
    images = np.load(golden)["inputs"][3:6]
    expected = side._module(torch.from_numpy(images)).detach()
    assert gpu.torch_side._sqnr(expected, candidate.logits(1)) > 40
    assert gpu.torch_side._sqnr(expected, candidate.logits(0)) < 40
    assert side.answer({"do": "device", "kind": "eager fp16", "i": 7})["ms"] > 0
    assert side.answer({"do": "end_to_end", "kind": "eager fp16", "i": 7})["ms"] > 0
    assert side.answer({"do": "close"}) == {} and side.candidates == {}


def test_one_answer_per_command(gpu: SimpleNamespace) -> None:
    from io import StringIO

    answers = StringIO()
    gpu.torch_side.serve(
        StringIO('{"do": "hello"}\nnonsense\n{"do": "device", "kind": "none", "i": 0}\n'),
        answers,
        "cpu",
    )
    hello, nonsense, missing = map(json.loads, answers.getvalue().splitlines())
    assert hello["torch"].startswith("2.") and hello["gpu"] is None
    assert nonsense["error"].startswith("JSONDecodeError") and "Traceback" in nonsense["trace"]
    assert missing["error"] == "KeyError: 'none'"
