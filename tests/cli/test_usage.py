"""How the command line answers: help, wrong arguments, its own faults, pipes and encodings."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from edgekit.cli import app, help
from edgekit.cli.commands import zoo
from edgekit.errors import InputError

from .conftest import FACTORIES, EdgekitCall, shell

PANELS = [
    "Arguments",
    help.INPUT,
    help.TRAINING,
    help.PRECISION,
    help.CALIBRATION,
    help.ENGINE,
    help.MEASUREMENT,
    help.COMPARISON,
    help.OUTPUT,
    help.OTHER,
]
VERBS = [str(command.name) for command in app.app.registered_commands]


def test_every_file_in_commands_is_a_command() -> None:
    """What the other tests call every verb is every verb."""
    files = {path.stem for path in (Path(app.__file__).parent / "commands").glob("*.py")}
    assert sorted(VERBS) == sorted(name.replace("_", "-") for name in files - {"__init__"})


@pytest.mark.parametrize("verb", VERBS)
def test_help(edgekit: EdgekitCall, verb: str) -> None:
    result = edgekit(verb, "--help")
    assert result.code == 0
    assert f"Usage: edgekit {verb}" in result.out
    assert result.err == ""


@pytest.mark.parametrize("columns", ["80", "120"])
@pytest.mark.parametrize("verb", VERBS)
def test_help_shows_flags_without_a_type_and_panels_in_one_order(
    edgekit: EdgekitCall, monkeypatch: pytest.MonkeyPatch, verb: str, columns: str
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    shown = edgekit(verb, "--help").out
    assert "bool" not in shown
    assert re.search(r"--json +[A-Z][a-z]", shown), shown
    assert max(map(len, shown.splitlines())) <= int(columns)
    panels = [title for title in re.findall(r"^(\w[\w ]+):$", shown, re.M) if title != "Arguments"]
    places = [PANELS.index(panel) for panel in panels]
    assert places == sorted(set(places))
    assert panels[-2:] == [help.OUTPUT, help.OTHER]


def test_help_imports_neither_numpy_nor_torch_nor_onnx() -> None:
    script = (
        "import sys; from edgekit.cli.app import execute; "
        "code = execute(['export', '--help']); "
        "sys.exit(code or bool({'numpy', 'torch', 'onnx', 'PIL'} & {*sys.modules}))"
    )
    assert subprocess.run([sys.executable, "-c", script], stdout=subprocess.DEVNULL).returncode == 0


def test_the_shell_completes_verbs_flags_and_names_of_the_zoo() -> None:
    def complete(line: str) -> list[str]:
        asked = {
            "_EDGEKIT_COMPLETE": "complete_bash",
            "COMP_WORDS": line,
            "COMP_CWORD": str(line.count(" ")),
        }
        done = shell("edgekit", **asked)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.split()

    assert complete("edgekit ver") == ["verify"]
    assert complete("edgekit export --calibr") == ["--calibrator"]
    assert complete("edgekit export lenet") == ["lenet5", "lenet5_1998"]
    assert complete("edgekit zoo show vgg11") == ["vgg11", "vgg11_bn"]
    script = shell("edgekit --show-completion && exit")  # bash is its parent, which it looks for
    assert script.returncode == 0, script.stderr


def test_no_argument_shows_the_verbs(edgekit: EdgekitCall) -> None:
    result = edgekit()
    assert result.code == 0
    assert all(verb in result.out for verb in VERBS)


def test_version(edgekit: EdgekitCall) -> None:
    assert edgekit("--version").out == "edgekit 0.1.0\n"


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (("exprt",), "no such command 'exprt'. Did you mean 'export', 'report'?", "edgekit --help"),
        (("export",), "missing argument 'network'", "edgekit export --help"),
        (("export", "lenet", "--fp61"), "no such option: --fp61", "edgekit export --help"),
        (("export", "lenet", "extra"), "got unexpected extra argument", "edgekit export --help"),
        (("export", "lenet", "--opset", "12"), "--opset 12 is not supported", "13 to 22"),
        (("export", "lenet", "--opset", "23"), "--opset 23 is not supported", "13 to 22"),
        (
            ("export", "lenet", "--opset", "new"),
            "invalid value for '--opset'",
            "edgekit export --help",
        ),
        (
            ("export", "lenet", "--fp16", "--precision", "fp32"),
            "--fp16 and --precision fp32 contradict each other",
            "give one of them",
        ),
        (("export", "lenet", "--precision", "fp8"), "invalid value for --precision: fp8", "fp32"),
        (("export", "lenet", "--size", "big"), "invalid value for --size: big", "--size 224"),
        (("export", "lenet", "--size", "²"), "invalid value for --size: ²", "--size 224"),
        (
            ("export", "lenet", "--size", "32x32x3"),
            "invalid value for --size: 32x32x3",
            "--size 224",
        ),
        (("export", "lenet", "--size", "4"), "--size 4 is outside 8 … 4096 pixels", "--size 224"),
        (("export", "lenet", "--size", "224x9999"), "--size 224x9999 is outside", "--size 224"),
        (("export", "lenet", "--batch", "0"), "invalid value for --batch: 0", "--batch dynamic"),
        (("export", "lenet", "--batch", "-1"), "invalid value for --batch: -1", "--batch dynamic"),
        (("export", "lenet", "--batch", "²"), "invalid value for --batch: ²", "--batch dynamic"),
        (
            ("export", "lenet", "--mean", "grey"),
            "invalid value for --mean: grey",
            "--mean 0.485,0.456,0.406",
        ),
        (
            ("export", "lenet", "--std", "nan"),
            "invalid value for --std: nan, numbers must be finite",
            "--std 0.485,0.456,0.406",
        ),
        (
            ("export", "lenet", "--gate", "speed=9"),
            "--gate: unknown key 'speed'",
            "keys are relative, sqnr, agreement",
        ),
        (
            ("export", "lenet", "--gate", "sqnr=loud"),
            "--gate: 'loud' is not a number",
            "--gate agreement=0.97",
        ),
        (
            ("export", "lenet", "--gate", "agreement=97"),
            "--gate: agreement 97 is not between 0 and 1",
            "write 0.97 for 97 %",
        ),
        (("zoo", "show"), "zoo show: no network given", "edgekit zoo show mobilenetv2"),
        (("zoo", "hide"), "zoo: unknown action 'hide'", "edgekit zoo show mobilenetv2"),
        (("zoo", "show", "mobilnetv2"), "unknown network 'mobilnetv2'", "did you mean mobilenetv2"),
        (("run", "nowhere", "cat.jpg"), "nowhere is not a folder", "a bundle is the folder"),
        (("run", "nowhere"), "missing argument 'photos'", "edgekit run --help"),
        (
            ("run", "nowhere", "cat.jpg", "--top", "0"),
            "invalid value for '--top'",
            "edgekit run --help",
        ),
        (("verify", "nowhere"), "nowhere is not a folder", "a bundle is the folder"),
        (
            ("build", "nowhere", "--runtime", "tflite"),
            "invalid value for --runtime: tflite",
            "tensorrt-rtx",
        ),
    ],
)
def test_wrong_arguments(
    edgekit: EdgekitCall,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    message: str,
    hint: str | None,
) -> None:
    monkeypatch.chdir(tmp_path)
    result = edgekit(*arguments)
    assert result.code == 2
    assert result.out == ""
    assert f"error: {message}" in result.err
    assert hint in result.err.partition("\n\nhint: ")[2] if hint else "hint:" not in result.err
    assert list(tmp_path.iterdir()) == []


def test_every_output_ends_in_plain_text(edgekit: EdgekitCall) -> None:
    for arguments in (("zoo",), ("export", "nothing"), ("exprt",)):
        result = edgekit(*arguments)
        assert "\x1b" not in result.out + result.err
        assert "[/]" not in result.out + result.err


def test_markup_in_a_name_is_shown_as_it_is(edgekit: EdgekitCall) -> None:
    assert "unknown network '[red]net[/red]'" in edgekit("export", "[red]net[/red]").err


def test_a_bug_is_70_in_words(edgekit: EdgekitCall, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> list[object]:
        raise KeyError("of [ours]")

    monkeypatch.setattr(zoo, "_variants", broken)
    result = edgekit("zoo")
    assert result.code == 70
    assert result.err.startswith(
        "bug: KeyError: 'of [ours]'\n\nhint: this is a bug in edgekit; run again with --debug"
    )
    assert "Traceback" not in result.err

    result = edgekit("zoo", "--debug")
    assert result.code == 70
    assert "Traceback (most recent call last)" in result.err
    assert "in broken" in result.err


def test_debug_shows_where_the_users_error_was_found(edgekit: EdgekitCall) -> None:
    result = edgekit("export", "mobilnetv2", "--debug")
    assert result.code == 2
    assert "Traceback (most recent call last)" in result.err
    assert "error: unknown network 'mobilnetv2'" in result.err


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (MemoryError(), 3, "there is not enough memory"),
        (
            RuntimeError(
                "DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"
            ),
            3,
            "there is not enough memory",
        ),
        (
            ModuleNotFoundError("No module named 'onnxruntime'", name="onnxruntime"),
            3,
            "this needs onnxruntime, which is not installed",
        ),
        (
            ImportError("libcudart.so.12: cannot open", name="torch._C"),
            3,
            "this needs torch, which cannot be imported: libcudart.so.12",
        ),
        (
            ImportError(
                "libgomp.so.1: cannot open", name="_C", path="/lib/ray/torch/_C.cpython.so"
            ),
            3,
            "this needs torch, which cannot be imported: libgomp.so.1",
        ),
        (
            ImportError("a.so: failed to map segment from shared object", name="_C"),
            3,
            "there is not enough memory",
        ),
        (ImportError("no such name", name="mine", path="/lib/torch/mine.py"), 70, "bug"),
        (OSError(24, "Too many open files"), 3, "hint: allow more open files"),
        (
            ModuleNotFoundError("No module named 'edgekit.ghost'", name="edgekit.ghost"),
            70,
            "bug: ModuleNotFoundError",
        ),
        (
            PermissionError(13, "Permission denied", "secret.jpg"),
            3,
            "secret.jpg: Permission denied",
        ),
        (FileNotFoundError(2, "No such file", "ours"), 70, "bug: FileNotFoundError"),
        (KeyboardInterrupt(), 130, "interrupted; no partial output was left behind"),
        (app.Terminated(15), 143, "interrupted"),
    ],
)
def test_a_missing_resource_is_not_a_bug(
    edgekit: EdgekitCall,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    code: int,
    message: str,
) -> None:
    def fail() -> list[object]:
        raise error

    monkeypatch.setattr(zoo, "_variants", fail)
    result = edgekit("zoo")
    assert result.code == code
    assert message in result.err
    assert "Traceback" not in result.err


def test_json_is_json_whatever_a_factory_prints(
    edgekit: EdgekitCall, photos: Path, tmp_path: Path
) -> None:
    out = tmp_path / "é"
    result = edgekit(
        "export",
        f"{FACTORIES}:chatty",
        "--size",
        32,
        "--no-bench",
        "--images",
        photos,
        "--out",
        out,
        "--json",
    )
    assert result.code == 0, result.err
    report = json.loads(result.out)
    assert [rung["name"] for rung in report["ladder"]] == ["torch", "onnx", "simplified"]
    assert Path(report["path"]).resolve() == out
    assert result.err == "building the network\n"


def test_an_error_carries_its_exit_code() -> None:
    assert InputError("x").exit_code == 2
