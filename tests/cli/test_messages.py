"""Messages: the packages below the command line name parameters, and the command line names
options.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgekit import calib, errors, models
from edgekit.advice import Advice
from edgekit.cli.commands import zoo
from edgekit.cli.console import as_flags, use_flags, with_flags
from edgekit.errors import InputError

from .conftest import EdgekitCall

ROOMS = [Path(str(package.__file__)).resolve().parent for package in (errors, models, calib)]
FLAG = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
# Other tools' options, each in the words that it may stand in.
ALLOWED = {
    "pip install --force-reinstall",
    "start it with --gpus all",
    "start the container with --gpus all",
    "--runtime nvidia",
    "--system-site-packages",
    "nvidia-smi --lock-gpu-clocks",
    "ray start --address",
    "ray start --head",
    "trtexec --help",
}


def _literals(path: Path) -> Iterator[tuple[int, str]]:
    """The strings of a file with their lines. The parts of an f-string are joined; docstrings and
    single words are left out.
    """
    tree = ast.parse(path.read_text(encoding="utf-8"))
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    skipped = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, documented) and node.body and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            skipped |= {id(part) for part in node.values}
            yield (
                node.lineno,
                "".join(
                    str(part.value) if isinstance(part, ast.Constant) else "…"
                    for part in node.values
                ),
            )
        elif (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and id(node) not in skipped
        ):
            yield node.lineno, node.value


def _flags_in(text: str) -> list[str]:
    if not re.search(r"\s", text):
        return []
    for allowed in ALLOWED:
        text = text.replace(allowed, "")
    return FLAG.findall(text)


def test_no_package_below_the_command_line_names_an_option() -> None:
    files = [
        path
        for room in ROOMS
        for path in room.rglob("*.py")
        if "cli" not in path.relative_to(room).parts
    ]
    assert len(files) > 100
    found = [
        f"{path}:{line}: {' '.join(flags)} in {text!r}"
        for path in files
        for line, text in _literals(path)
        if (flags := _flags_in(text))
    ]
    assert found == []


def test_the_search_for_options_finds_them(tmp_path: Path) -> None:
    file = tmp_path / "room.py"
    file.write_text('"""--doc"""\nx = "give --images a folder"\ny = f"{x} takes --calib {x}"\n')
    assert [_flags_in(text) for _, text in _literals(file)] == [["--images"], ["--calib"]]
    assert _flags_in("start it with --gpus all, and give --size") == ["--size"]


def test_a_parameter_is_printed_as_the_option_of_the_running_command() -> None:
    use_flags({"--calib-images", "--no-bench", "--calib"})
    try:
        text = (
            "give `calib` photos, `calib_images` 64; `no_bench`, `size` and `edgekit doctor` stay"
        )
        assert as_flags(text) == (
            "give --calib photos, --calib-images 64; --no-bench, `size` and `edgekit doctor` stay"
        )
        assert with_flags([Advice("`calib` is small", "more `calib`"), Advice("`x`")]) == (
            Advice("--calib is small", "more --calib"),
            Advice("`x`"),
        )
        assert as_flags("remove `calibration`") == "remove --calib"
    finally:
        use_flags(())
    assert as_flags(text) == text


def test_errors_and_hints_name_only_options_of_their_command(
    edgekit: EdgekitCall, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> list[object]:
        raise InputError("`json` and `calib` differ", hint="remove `json`, or give `calib`")

    assert edgekit("export", "lenet", "--gate", "speed=9").err.startswith("error: --gate: unknown")
    monkeypatch.setattr(zoo, "_variants", fail)
    assert edgekit("zoo").err == (
        "error: --json and `calib` differ\n\nhint: remove --json, or give `calib`\n"
    )
