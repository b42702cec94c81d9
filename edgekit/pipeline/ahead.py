"""Imports the modules of a later step while an earlier one computes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib import import_module


@contextmanager
def imported_ahead(modules: Sequence[str]) -> Iterator[None]:
    """Imports ``modules`` in a second thread while the body runs. Modules that are not begun when
    the body ends are left to the code that needs them. An import error is not raised here, but by
    that code.
    """
    with ThreadPoolExecutor(1) as pool:
        for module in modules:
            pool.submit(import_module, module)
        try:
            yield
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
