"""The GitHub Action: its shell steps are run as GitHub would, with a double of gh that notes what it
is given.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
ACTION: dict[str, Any] = yaml.safe_load((ROOT / "action.yml").read_text())
STEPS: list[dict[str, Any]] = ACTION["runs"]["steps"]
SCRIPTS = [step for step in STEPS if "run" in step]
EXPRESSION = re.compile(r"\$\{\{\s*(.*?)\s*\}\}")
NETWORK = """
import torch
from torch import nn

def build():
    print("::error::of the network")
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))
"""
# Answers with the comments in comments.json, and notes each call in calls.jsonl.
GH = """#!{python}
import json, os, pathlib, sys
here = pathlib.Path(os.environ["DOUBLE"])
body = next((a.removeprefix("body=@") for a in sys.argv if a.startswith("body=@")), None)
call = {{"arguments": sys.argv[1:], "token": os.environ.get("GH_TOKEN"), "mark": os.environ.get("MARK"),
        "body": body and pathlib.Path(body).read_text()}}
with (here / "calls.jsonl").open("a") as file:
    file.write(json.dumps(call) + "\\n")
if (here / "refuses").exists():
    sys.exit(1)
if "--jq" in sys.argv:
    for comment in json.loads((here / "comments.json").read_text()):
        if comment["user"] == "Bot" and comment["body"].startswith(os.environ["MARK"]):
            print(comment["id"])
"""
PYTHON = """#!/bin/bash
if [[ "$1 $2" == "-m pip" ]]; then printf '%s\\n' "$@" > "$DOUBLE/pip.txt"; exit 0; fi
exec {python} "$@"
"""


@dataclass
class Runner:
    """A job of GitHub's, as far as the steps see it."""

    folder: Path
    inputs: dict[str, str]
    pull: str = "7"
    outputs: dict[str, dict[str, str]] = field(default_factory=dict)
    said: str = ""
    printed: str = ""

    def __post_init__(self) -> None:
        self.inputs = {
            **{name: str(given.get("default", "")) for name, given in ACTION["inputs"].items()},
            **self.inputs,
        }
        for name, text in {"gh": GH, "python": PYTHON}.items():
            script = self.folder / "bin" / name
            script.parent.mkdir(exist_ok=True)
            script.write_text(text.format(python=sys.executable))
            script.chmod(0o755)
        (self.folder / "temp").mkdir(exist_ok=True)
        (self.folder / "job").mkdir(exist_ok=True)
        if not (self.folder / "comments.json").exists():
            (self.folder / "comments.json").write_text("[]")

    def value(self, expression: str) -> str:
        place = expression.split(".")
        if place[0] == "inputs":
            return self.inputs[place[1]]
        if place[0] == "steps":
            return self.outputs.get(place[1], {}).get(place[3], "")
        known = {
            "github.action_path": str(ROOT),
            "runner.temp": str(self.folder / "temp"),
            "github.token": "secret",
            "github.repository": "owner/repository",
            "github.event.pull_request.number": self.pull,
        }
        return known[expression]

    def resolve(self, text: str) -> str:
        return EXPRESSION.sub(lambda found: self.value(found[1]), text)

    def run(self) -> int:
        """The exit code of the first step that fails, or 0."""
        for number, step in enumerate(SCRIPTS):
            output = self.folder / f"output-{number}"
            output.touch()
            given = {name: self.resolve(self.resolve(v)) for name, v in step["env"].items()}
            done = subprocess.run(
                ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
                cwd=self.folder / "job",
                env={
                    **os.environ,
                    **given,
                    "PATH": f"{self.folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
                    "GITHUB_OUTPUT": str(output),
                    "GITHUB_STEP_SUMMARY": str(self.folder / "summary.md"),
                    "DOUBLE": str(self.folder),
                    "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
                },
                capture_output=True,
                text=True,
                check=False,
            )
            self.said += done.stdout + done.stderr
            self.printed += done.stdout
            lines = output.read_text().splitlines()
            self.outputs[step.get("id", str(number))] = {
                line.partition("=")[0]: line.partition("=")[2] for line in lines
            }
            if done.returncode:
                return done.returncode
        return 0

    @property
    def calls(self) -> list[dict[str, Any]]:
        notes = self.folder / "calls.jsonl"
        return (
            [json.loads(line) for line in notes.read_text().splitlines()] if notes.exists() else []
        )


@pytest.fixture(scope="module")
def passed(tmp_path_factory: pytest.TempPathFactory, photos: Path) -> Runner:
    """A job whose gate is met, on a pull request without comments."""
    folder = tmp_path_factory.mktemp("passed")
    inputs = {"network": "net.py:build", "precision": "fp32", "images": str(photos)}
    runner = Runner(folder, {**inputs, "options": "--size 32\n--no-bench", "out": "my bundle"})
    (folder / "job/net.py").write_text(NETWORK)
    assert runner.run() == 0, runner.said
    return runner


def test_it_is_a_composite_action_whose_inputs_are_described_and_used() -> None:
    assert ACTION["runs"]["using"] == "composite"
    text = (ROOT / "action.yml").read_text()
    for name, given in ACTION["inputs"].items():
        assert given["description"], name
        assert f"inputs.{name}" in text, name
        assert given.get("required") or "default" in given, name
    used = set(re.findall(r"inputs\.([\w-]+)", text))
    assert used == set(ACTION["inputs"])
    guide = (ROOT / "docs/guides/ci.md").read_text()
    assert all(f"`{name}`" in guide for name in ACTION["inputs"])


def test_no_expression_stands_in_a_script() -> None:
    assert len(SCRIPTS) >= 4
    for step in SCRIPTS:
        assert step["shell"] == "bash"
        assert "${{" not in step["run"], step["name"]


def test_it_installs_this_repository(passed: Runner) -> None:
    asked = (passed.folder / "pip.txt").read_text().splitlines()
    assert asked[:3] == ["-m", "pip", "install"] and asked[-1] == f"{ROOT}[export]"
    assert asked[asked.index("--constraint") + 1] == str(ROOT / "constraints.txt")


def test_what_a_job_leaves(passed: Runner) -> None:
    assert passed.outputs["export"] == {"exit-code": "0", "bundle": "my bundle"}
    assert (passed.folder / "job/my bundle/manifest.json").is_file()
    summary = (passed.folder / "summary.md").read_text()
    assert summary.startswith("<!-- edgekit: edgekit -->\n# edgekit report\n\n1 pass.")
    read, written = passed.calls
    assert read["arguments"][:3] == [
        "api",
        "--paginate",
        "repos/owner/repository/issues/7/comments",
    ]
    assert written["arguments"][:4] == ["api", "--silent", "--method", "POST"]
    assert written["arguments"][4] == "repos/owner/repository/issues/7/comments"
    assert written["body"] == summary and written["token"] == "secret"
    assert read["mark"] == "<!-- edgekit: edgekit -->"
    assert "::stop-commands::" in passed.said


def test_what_a_network_prints_is_no_command(passed: Runner) -> None:
    """All in one stream, because the runner does not read two in their order."""
    token, _, rest = passed.printed.partition("::stop-commands::")[2].partition("\n")
    held, ended, _ = rest.partition(f"::{token}::\n")
    assert len(token) == 32 and ended
    assert "::error::of the network" in held
    assert passed.said.count("::error::of the network") == held.count("::error::of the network")


def again(passed: Runner, folder: Path, **inputs: str) -> Runner:
    """The job once more, with other inputs."""
    shutil.copytree(passed.folder / "job", folder / "job")
    return Runner(folder, {**passed.inputs, **inputs})


def test_a_gate_that_is_missed_is_told_and_fails_last(passed: Runner, tmp_path: Path) -> None:
    comments = [
        {"id": 1, "user": "User", "body": "<!-- edgekit: edgekit --> mine"},
        {"id": 2, "user": "Bot", "body": "of another bot"},
        {"id": 3, "user": "Bot", "body": "<!-- edgekit: edgekit -->\nof before"},
    ]
    (tmp_path / "comments.json").write_text(json.dumps(comments))
    runner = again(passed, tmp_path, gate="sqnr=500")
    assert runner.run() == 1
    assert runner.outputs["export"] == {"exit-code": "1"}
    written = runner.calls[-1]
    assert written["arguments"][2:5] == [
        "--method",
        "PATCH",
        "repos/owner/repository/issues/comments/3",
    ]
    assert "**Failed**" in written["body"] and "500 dB" in written["body"]


@pytest.mark.parametrize(
    "network", ["$(touch pwned)", "`touch pwned`", "x; touch pwned", '"; touch pwned; "', "--debug"]
)
def test_inputs_are_no_commands(passed: Runner, tmp_path: Path, network: str) -> None:
    evil = {"network": network, "name": "--> $(touch pwned)", "gate": "$(touch pwned)"}
    runner = again(passed, tmp_path, **evil, options="--size 32 $(touch pwned)", comment="false")
    assert runner.run() == 2
    assert not list(tmp_path.rglob("pwned"))
    assert runner.calls == []
    summary = (tmp_path / "summary.md").read_text()
    assert summary.startswith("<!-- edgekit: - -&gt; $(touch pwned) -->\n")
    assert "The export ended with exit code 2" in summary


def test_two_lines_in_a_path_set_no_output(passed: Runner, tmp_path: Path) -> None:
    runner = again(passed, tmp_path, out="a\nexit-code=0")
    assert runner.run() == 2
    assert runner.outputs["export"] == {}


def _comment(passed: Runner, folder: Path, pull: str) -> tuple[int, Runner]:
    """Only the step that comments, after the others of the job that passed."""
    step = next(step for step in SCRIPTS if step["name"].startswith("Comment"))
    runner = Runner(folder, dict(passed.inputs), pull=pull, outputs=dict(passed.outputs))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys.modules[__name__], "SCRIPTS", [step])
        return runner.run(), runner


def test_without_a_pull_request_nothing_is_commented(passed: Runner, tmp_path: Path) -> None:
    code, runner = _comment(passed, tmp_path, pull="")
    assert (code, runner.calls) == (0, [])


def test_a_token_that_may_not_comment_is_a_warning(passed: Runner, tmp_path: Path) -> None:
    (tmp_path / "refuses").touch()
    code, runner = _comment(passed, tmp_path, pull="7")
    assert code == 0
    assert "::warning::the comments of the pull request cannot be read" in runner.said
