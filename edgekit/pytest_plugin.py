"""``pytest --edgekit-bundle BUNDLE``: one test per bundle. It fails if the bundle is damaged, or no
longer computes the outputs of its export.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from edgekit.tasks.verify import Verification


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("edgekit", "parity of edgekit's bundles")
    group.addoption(
        "--edgekit-bundle",
        action="append",
        default=[],
        metavar="BUNDLE",
        help="verify this bundle's files and its parity; may be given more than once",
    )
    group.addoption(
        "--edgekit-runtime",
        default="onnxruntime",
        metavar="NAME",
        help="the runtime that runs the bundles",
    )


class BundleFailed(Exception):
    """The bundle differs from its export."""

    def __init__(self, found: Verification) -> None:
        super().__init__("\n".join((*found.damage, *found.failures)))


class BundleItem(pytest.Item):
    """The test of one bundle."""

    def __init__(self, *, bundle: Path, runtime: str, **given: Any) -> None:
        super().__init__(**given)
        self.bundle, self.runtime = bundle, runtime

    def runtest(self) -> None:
        from edgekit.api.bundles import Bundle

        found = Bundle.open(self.bundle).verify(self.runtime)
        if not found.ok:
            raise BundleFailed(found)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        from edgekit.errors import EdgekitError

        if isinstance(excinfo.value, BundleFailed | EdgekitError):
            hint = getattr(excinfo.value, "hint", None)
            return f"{self.bundle}: {excinfo.value}" + (f"\nhint: {hint}" if hint else "")
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        return self.bundle, None, f"edgekit bundle {self.bundle}"


class Bundles(pytest.Collector):
    """Collects the bundles of the command line."""

    def collect(self) -> Iterator[pytest.Item]:
        runtime = self.config.getoption("--edgekit-runtime")
        for name in self.config.getoption("--edgekit-bundle"):
            yield BundleItem.from_parent(self, name=name, bundle=Path(name), runtime=runtime)


def pytest_collection_modifyitems(
    session: pytest.Session, config: pytest.Config, items: list[pytest.Item]
) -> None:
    if config.getoption("--edgekit-bundle"):
        items += Bundles.from_parent(session, name="edgekit").collect()
