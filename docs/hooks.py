"""What the site has that is not a file in docs/: the page of the command line, made from its
command objects, and the files elsewhere in the tree that the pages link to.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import typer

ROOT = Path(__file__).resolve().parents[1]
# Files outside of docs/ that are part of the site, at the same place in it.
FROM_THE_ROOT = ("CHANGELOG.md", "CONTRIBUTING.md", "benchmarks/gpu/README.md")
RESULTS = "benchmarks/results"
# A link that leaves docs/, as it is right in the repository: [text](../benchmarks/…).
_UP = re.compile(r"(\]\()((?:\.\./)+)(?=[^)]+\))")
# What is left of :class:`X` in a docstring: the name is marked as code already.
_ROLE = re.compile(r":(?:attr|class|func|meth|mod):(?=<code>)")

_INTRODUCTION = """# Command line

This page is made from the program when the site is built; `edgekit COMMAND --help` prints the same
text.

Results are printed to stdout; progress, warnings and errors to stderr. [CI gates](guides/ci.md)
explains the exit codes. An image size is `HEIGHTxWIDTH` or one number for both. The environment
variable `EDGEKIT_TIME_LIMIT` sets the number of seconds that one call of a factory or one run of a
graph may take; the default is 1800."""


def on_files(files: Any, config: Any) -> Any:
    from mkdocs.structure.files import File

    files.append(File.generated(config, "cli.md", content=cli_page()))
    for name in (*FROM_THE_ROOT, *results()):
        files.append(File.generated(config, name, abs_src_path=str(ROOT / name)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    return in_the_site(markdown, page.file.src_uri)


def on_page_content(html: str, page: Any, config: Any, files: Any) -> str:
    return _ROLE.sub("", html)


def results() -> list[str]:
    """The recorded measurements, which the pages name as their sources."""
    return [f"{RESULTS}/{path.name}" for path in sorted((ROOT / RESULTS).glob("*.json"))]


def in_the_site(markdown: str, page: str) -> str:
    """The links of a page, from where they lead in the repository to where they lead in the site:
    docs/ is the site's root there, and the tree around it is laid into it.
    """
    if page in FROM_THE_ROOT:
        return re.sub(r"(\]\((?:\.\./)*)docs/", r"\1", markdown)
    depth = page.count("/")
    return _UP.sub(
        lambda link: link[1] + "../" * min(link[2].count("../"), depth),
        markdown,
    )


def cli_page() -> str:
    """The reference of the command line, in Markdown."""
    from edgekit.cli.app import app

    root: Any = typer.main.get_command(app)
    parts = [_INTRODUCTION]
    for name, command in root.commands.items():
        parts.append(_section(f"edgekit {name}", command))
    return "\n\n".join(parts) + "\n"


def _section(path: str, command: Any) -> str:
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    options = [p for p in command.params if p.param_type_name == "option" and not p.hidden]
    usage = " ".join([path, "[OPTIONS]", *map(_placeholder, arguments)])
    parts = [f"## {path}", _text(command.help), f"```text\n{usage}\n```"]
    if arguments:
        rows = [(f"`{_placeholder(p)}`", _text(p.help)) for p in arguments]
        parts.append(_table(("argument", "meaning"), rows))
    rows = [(_names(p), _value(p), _default(p), _text(p.help)) for p in options]
    parts.append(_table(("option", "value", "default", "meaning"), rows))
    return "\n\n".join(part for part in parts if part)


def _placeholder(argument: Any) -> str:
    name = argument.name.upper() + ("..." if argument.nargs == -1 else "")
    return name if argument.required else f"[{name}]"


def _names(option: Any) -> str:
    return ", ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))


def _value(option: Any) -> str:
    """What stands behind the option: nothing for a flag, else a type with its bounds."""
    if option.is_flag:
        return ""
    kind = option.type_descriptor.annotation
    name = {str: "text", int: "whole number", float: "number", Path: "path"}[kind]
    if option.min is not None and option.max is not None:
        return f"{name}, {option.min} to {option.max}"
    return name if option.min is None else f"{name}, at least {option.min}"


def _default(option: Any) -> str:
    if option.required:
        return "required"
    return "" if option.is_flag or option.default in (None, "") else f"`{option.default}`"


def _text(text: str | None) -> str:
    """Help as Markdown: paragraphs unwrapped; nothing that HTML or a table would take for its
    own.
    """
    paragraphs = re.split(r"\n\s*\n", (text or "").strip())
    joined = "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
    return joined.replace("<", "&lt;").replace("[", "\\[")


def _table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [tuple(header), *(tuple(cell.replace("|", "\\|") for cell in row) for row in rows)]
    drawn = ["| " + " | ".join(line) + " |" for line in lines]
    return "\n".join([drawn[0], "| " + " | ".join("---" for _ in lines[0]) + " |", *drawn[1:]])
