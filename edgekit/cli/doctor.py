"""``edgekit doctor``: what this machine can do, what not, and why."""

from __future__ import annotations

import typer

from edgekit.cli.console import escape, out, print_json


def command(
    json: bool = typer.Option(False, "--json", help="The findings as json on stdout."),
    debug: bool = typer.Option(False, "--debug", help="Show tracebacks."),
) -> None:
    """Say which runtimes are here, which not, and what this machine is."""
    from edgekit.bench.environment import describe
    from edgekit.doctor import examine
    from edgekit.report.plain import plain
    from edgekit.report.table import environment_lines
    from edgekit.runtimes import availability

    environment, found = describe(), availability()
    findings = examine(environment)
    if json:
        print_json({"environment": plain(environment), "runtimes": plain(found), "findings": plain(findings)})
        return
    for name, state in found.items():
        mark = "[green]✓[/]" if state.ok else "[yellow]–[/]"
        out.print(f"{mark} {name:<14}{state.version or '':<14}{escape(state.reason or '')}")
        if not state.ok and state.install_hint:
            out.print(f"  {'':<28}{escape(state.install_hint)}", style="dim")
    out.print()
    for line in environment_lines(environment):
        out.print(escape(line))
    for finding in findings:
        out.print(f"\n[yellow]![/] {escape(finding.message)}")
        if finding.fix:
            out.print(f"  {escape(finding.fix)}", style="dim")
