"""The commands, options, names of the Python API, files and headings in the documentation exist.

``make docs`` builds the site; these tests check more than the build does.
"""

from __future__ import annotations

import ast
import importlib.util
import inspect
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer
import yaml

import edgekit
from edgekit.cli.app import app
from edgekit.errors import EdgekitError

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
GENERATED = {"cli.md"}
GUIDES = (DOCS / "index.md", DOCS / "api.md", *sorted((DOCS / "guides").glob("*.md")))
PAGES = (*sorted(DOCS.glob("*.md")), *sorted((DOCS / "guides").glob("*.md")), ROOT / "README.md")
OPENERS = ("edgekit", "pip", "python3", ".", "set", "python", "make", "sudo", "tar")

FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\(([^)\s]+)\)")
COMMAND = re.compile(r"`(edgekit [^`]+)`")


@pytest.fixture(scope="module")
def hooks() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_hooks", DOCS / "hooks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def commands() -> dict[str, Any]:
    root: Any = typer.main.get_command(app)
    return dict(root.commands)


def blocks(text: str, language: str) -> list[str]:
    return [body for kind, body in FENCE.findall(text) if kind == language]


def shell_faults(block: str) -> Iterator[str]:
    """What is wrong with the commands of a block, one fault a line."""
    for line in block.replace("\\\n", " ").splitlines():
        try:
            words = shlex.split(line, comments=True)
        except ValueError as error:
            yield f"{line}: {error}"
            continue
        if not words:
            continue
        if words[0] not in OPENERS:
            yield f"{line}: begins with {words[0]}"
        elif words[0] == "edgekit":
            yield from command_faults(words[1:])


def command_faults(words: list[str]) -> Iterator[str]:
    """What is wrong with one call of edgekit: parsed as the program parses it, but not run."""
    if ">" in words:
        words = words[: words.index(">")]
    verb, *arguments = words or [""]
    known = commands()
    if verb not in known:
        yield f"edgekit {verb}: no such command"
        return
    try:
        known[verb].make_context(f"edgekit {verb}", arguments)
    except (EdgekitError, typer.BadParameter.__mro__[1]) as error:
        yield f"edgekit {' '.join(words)}: {getattr(error, 'message', error)}"


def python_faults(block: str) -> Iterator[str]:
    """What is wrong with a block of Python: its syntax, names of edgekit, arguments of
    its calls.
    """
    try:
        tree = ast.parse(block)
    except SyntaxError as error:
        yield f"{error.text}: {error.msg}"
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and name_of(node.value) == "edgekit":
            if node.attr not in edgekit.__all__:
                yield f"edgekit.{node.attr}: no such name"
        elif isinstance(node, ast.Call) and (name := called_name(node)) in edgekit.__all__:
            yield from call_faults(node, getattr(edgekit, name))


def call_faults(call: ast.Call, called: Any) -> Iterator[str]:
    named = {word.arg: None for word in call.keywords if word.arg is not None}
    try:
        inspect.signature(called).bind(*call.args, **named)
    except TypeError as error:
        yield f"{ast.unparse(call)}: {error}"


def called_name(call: ast.Call) -> str:
    """``export`` of ``edgekit.export(…)``; empty where something else is called."""
    called = call.func
    of_edgekit = isinstance(called, ast.Attribute) and name_of(called.value) == "edgekit"
    return called.attr if isinstance(called, ast.Attribute) and of_edgekit else ""


def name_of(node: ast.expr) -> str | None:
    return node.id if isinstance(node, ast.Name) else None


def link_faults(path: Path, text: str) -> Iterator[str]:
    """Links of a page to files and headings that are not there."""
    for target in LINK.findall(FENCE.sub("", text)):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, heading = target.partition("#")
        file = (path.parent / name).resolve() if name else path
        if DOCS in file.parents and file.relative_to(DOCS).as_posix() in GENERATED:
            continue
        if not file.exists():
            yield f"{path.name}: {target} leads nowhere"
        elif heading and heading not in headings(file.read_text(encoding="utf-8")):
            yield f"{path.name}: {target}: no such heading"


def headings(text: str) -> set[str]:
    """The anchors of a page, as Python-Markdown makes them of its headings."""
    titles = re.findall(r"^#+ (.+)$", FENCE.sub("", text), re.MULTILINE)
    plain = (re.sub(r"[^\w\s-]", "", title).strip().lower() for title in titles)
    return {re.sub(r"[-\s]+", "-", title) for title in plain}


def listed(nav: Any) -> Iterator[str]:
    if isinstance(nav, str):
        yield nav
    else:
        for item in nav.values() if isinstance(nav, dict) else nav:
            yield from listed(item)


@pytest.mark.parametrize("path", GUIDES, ids=lambda path: path.name)
def test_commands_and_options_exist(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    faults = [fault for block in blocks(text, "bash") for fault in shell_faults(block)]
    assert not faults


def test_the_commands_of_the_readme_exist() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = re.findall(r"^    (edgekit .+)$", text, re.MULTILINE)
    assert shown
    assert not [fault for line in shown for fault in shell_faults(line)]


@pytest.mark.parametrize("path", GUIDES, ids=lambda path: path.name)
def test_commands_in_sentences_exist(path: Path) -> None:
    for shown in COMMAND.findall(FENCE.sub("", path.read_text(encoding="utf-8"))):
        verb, *rest = shlex.split(shown)[1:]
        if verb == "COMMAND":
            continue
        assert verb in commands(), shown
        known = {name for parameter in commands()[verb].params for name in parameter.opts}
        assert {word for word in rest if word.startswith("--")} <= known | {"--help"}, shown


@pytest.mark.parametrize("path", GUIDES, ids=lambda path: path.name)
def test_python_is_of_this_api(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    faults = [fault for block in blocks(text, "python") for fault in python_faults(block)]
    assert not faults


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    assert not list(link_faults(path, path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("name", ["docs/design.md", "CONTRIBUTING.md"])
def test_paths_of_the_tree_are_there(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    paths = re.findall(r"`((?:edgekit|models|calib|tests|benchmarks)/[\w./-]*)", text)
    assert paths
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_the_table_of_the_tree_is_whole() -> None:
    text = (DOCS / "design.md").read_text(encoding="utf-8")
    rooms = set(re.findall(r"^\| `edgekit/(\w+)/` \|", text, re.MULTILINE))
    assert rooms == {path.parent.name for path in (ROOT / "edgekit").glob("*/__init__.py")}


def test_the_guides_show_something() -> None:
    shown = "".join(path.read_text(encoding="utf-8") for path in GUIDES)
    assert len(blocks(shown, "bash")) > 20
    assert len(blocks(shown, "python")) > 4


def test_every_page_of_the_navigation_exists(hooks: ModuleType) -> None:
    config = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    pages = list(listed(config["nav"]))
    assert len(pages) > 8
    for page in pages:
        assert page in GENERATED or (DOCS / page).is_file() or page in hooks.FROM_THE_ROOT, page
    assert all((ROOT / name).is_file() for name in hooks.FROM_THE_ROOT)
    assert {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")} <= set(pages)


def test_the_page_of_the_command_line_has_every_option_and_its_help(hooks: ModuleType) -> None:
    page = hooks.cli_page()
    sections = dict(
        zip(
            re.findall(r"^## edgekit ([\w-]+)$", page, re.MULTILINE),
            re.split(r"^## edgekit [\w-]+$", page, flags=re.MULTILINE)[1:],
            strict=True,
        )
    )
    assert sections.keys() == commands().keys()
    for verb, command in commands().items():
        for parameter in command.params:
            shown = (
                f"`{parameter.opts[0]}`"
                if parameter.opts[0].startswith("-")
                else parameter.name.upper()
            )
            assert shown in sections[verb]
            assert hooks._text(parameter.help).replace("|", "\\|") in sections[verb]
    assert "| `--opset` | whole number | `17` |" in sections["export"]
    assert "whole number, 1 to 1024" in sections["bench"]


def test_the_page_of_the_api_has_every_name() -> None:
    page = (DOCS / "api.md").read_text(encoding="utf-8")
    shown = re.findall(r"^::: edgekit\.(\w+)$", page, re.MULTILINE)
    assert len(shown) == len(set(shown))
    assert set(shown) == set(edgekit.__all__) - {"__version__"}


def test_the_errors_are_those_of_the_table() -> None:
    page = (DOCS / "api.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (\d+) \| `(\w+)` \|$", page, re.MULTILINE)
    raised = {
        name
        for name in edgekit.__all__
        if inspect.isclass(found := getattr(edgekit, name)) and issubclass(found, EdgekitError)
    }
    assert {name for name, _, _ in rows} == raised
    for name, code, base in rows:
        error = getattr(edgekit, name)
        assert (error.exit_code, error.__bases__[0].__name__) == (int(code), base)


@pytest.mark.parametrize(
    ("page", "markdown", "expected"),
    [
        ("gpu.md", "[x](../benchmarks/results/a.json)", "[x](benchmarks/results/a.json)"),
        ("guides/ci.md", "[x](../api.md)", "[x](../api.md)"),
        ("guides/ci.md", "[x](../../benchmarks/b.md)", "[x](../benchmarks/b.md)"),
        ("CONTRIBUTING.md", "[x](docs/design.md)", "[x](design.md)"),
        ("benchmarks/gpu/README.md", "[x](../../docs/gpu.md)", "[x](../../gpu.md)"),
    ],
)
def test_links_out_of_docs_stay_in_the_site(
    page: str, markdown: str, expected: str, hooks: ModuleType
) -> None:
    assert hooks.in_the_site(markdown, page) == expected


@pytest.mark.parametrize(
    "wrong",
    [
        "edgekit exprot lenet5",
        "edgekit export lenet5 --no-such-option",
        "edgekit export",
        "edgekit bench build/x --batch many",
        "edgekit export lenet5 \\\n    --int9",
        "edgekit export 'lenet5",
        "edgkit export lenet5",
    ],
)
def test_a_wrong_command_is_a_fault(wrong: str) -> None:
    assert list(shell_faults(wrong))


@pytest.mark.parametrize(
    "wrong",
    [
        "edgekit.exprot('lenet5')",
        "edgekit.export('lenet5', precison=None)",
        "edgekit.Gate(agreement=0.9, psnr=20)",
        "edgekit.export(",
    ],
)
def test_wrong_python_is_a_fault(wrong: str) -> None:
    assert list(python_faults(wrong))


@pytest.mark.parametrize("target", ["nowhere.md", "guides/nowhere.md", "index.md#nowhere"])
def test_a_link_to_nowhere_is_a_fault(target: str) -> None:
    assert list(link_faults(DOCS / "index.md", f"[there]({target})"))
