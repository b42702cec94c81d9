"""``edgekit verify``: checks that a bundle is unchanged and computes the same outputs."""

from __future__ import annotations

from pathlib import Path

import typer

from edgekit.cli.console import err, escape, out, print_json, show_hint
from edgekit.cli.help import DEBUG, RUNTIME, json_flag


def command(
    bundle: Path = typer.Argument(help="A bundle's folder.", show_default=False),
    runtime: str = RUNTIME,
    json: bool = json_flag("The result"),
    debug: bool = DEBUG,
) -> None:
    """Check every file's hash, then parity again on the golden images."""
    from edgekit import Bundle
    from edgekit.reports.plain import plain

    opened = Bundle.open(bundle)
    result = opened.verify(runtime)
    if json:
        print_json(plain(result))
    else:
        for line in result.damage:
            out.print(f"[red]✗[/] {escape(line)}")
        if not result.damage:
            out.print(f"[green]✓[/] {result.files} files are unchanged since the export")
        mark = "[red]✗[/]" if result.failures else "[green]✓[/]"
        for form, p in (("", result.parity), (" in the CPU form", result.cpu_form)):
            if p is not None:
                out.print(
                    f"{mark} {p.images} golden images in {result.runtime}{form}: max-abs "
                    f"{p.max_abs:.2e}, SQNR {p.sqnr:.1f} dB, "
                    f"top-1 agreement {p.top1:.1%}"
                )
    if not result.ok:
        for failure in result.failures:
            err.print(f"[red]gate failed[/]: {escape(failure)}")
        if result.damage:
            unlisted = opened.unlisted()
            only_more = len(unlisted) == len(result.damage)
            names = ", ".join(str(bundle / name) for name in unlisted)
            show_hint(
                f"remove {names}" if only_more else "copy the bundle again, or export it again"
            )
        raise typer.Exit(1)
