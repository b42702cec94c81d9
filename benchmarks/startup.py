"""Measures the time of `edgekit --help` and `edgekit zoo`, as a multiple of the import of their
main packages.

    python benchmarks/startup.py [--runs 15]

Goals: `--help` at most 2.2 times, `zoo` at most 3 times `python -c "import typer, rich"`.
"""

from __future__ import annotations

import argparse
import sys

from common import compare_processes, write_result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=15)
    runs = parser.parse_args().runs
    edgekit = [sys.executable, "-c", "from edgekit.cli import main; main()"]
    theirs = [sys.executable, "-c", "import typer, rich"]
    result = {verb: compare_processes([*edgekit, verb], theirs, runs) for verb in ("--help", "zoo")}
    print(
        write_result("startup", {"what": "edgekit VERB / python -c 'import typer, rich'", **result})
    )
    for verb, compared in result.items():
        ratio = compared["ratio"]["wall"]
        print(f"{verb:<8}{ratio['value']:.2f} [{ratio['low']:.2f}, {ratio['high']:.2f}]")


if __name__ == "__main__":
    main()
