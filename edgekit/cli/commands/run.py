"""``edgekit run``: classifies photos with a bundle."""

from __future__ import annotations

from pathlib import Path

import typer

from edgekit.cli.console import escape, out, print_json
from edgekit.cli.help import DEBUG, OUTPUT, RUNTIME, json_flag, option


def command(
    bundle: Path = typer.Argument(help="A bundle's folder.", show_default=False),
    photos: list[Path] = typer.Argument(help="One or more photos.", show_default=False),
    top: int = option(
        default=5,
        min=1,
        help="How many classes to name.",
        metavar="N",
        panel=OUTPUT,
    ),
    runtime: str = RUNTIME,
    json: bool = json_flag("The result"),
    debug: bool = DEBUG,
) -> None:
    """Classify photos with a bundle and its own preprocessing."""
    from edgekit import Bundle

    results = Bundle.open(bundle).classify_all(photos, top=top, runtime=runtime)
    if json:
        print_json(
            [
                {
                    "photo": str(r.photo),
                    "classes": [
                        {"index": c.index, "name": c.name, "probability": c.probability}
                        for c in r.classes
                    ],
                }
                for r in results
            ]
        )
        return
    for result in results:
        out.print(escape(str(result.photo)), style="bold")
        for guess in result.classes:
            out.print(f"  {guess.probability:6.1%}  {escape(guess.name or f'class {guess.index}')}")
