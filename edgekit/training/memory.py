"""The memory of training on a CPU.

Each step allocates and frees the same large tensors. By default, glibc gives freed tensors back to
the kernel, which fills each new one with zeros, page by page.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# of mallopt(3)
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
NEVER, DEFAULT_THRESHOLD, DEFAULT_MAX = -1, 128 << 10, 65_536


@contextmanager
def freed_memory_kept() -> Iterator[None]:
    """Within this context, the process keeps freed memory for its next tensors, and afterwards
    returns it. It has no effect without glibc.
    """
    libc: Any = ctypes.CDLL(None) if sys.platform == "linux" else None
    if not hasattr(libc, "mallopt"):
        yield
        return
    libc.mallopt(M_MMAP_MAX, 0)
    libc.mallopt(M_TRIM_THRESHOLD, NEVER)
    try:
        yield
    finally:
        libc.mallopt(M_MMAP_MAX, DEFAULT_MAX)
        libc.mallopt(M_TRIM_THRESHOLD, DEFAULT_THRESHOLD)
        libc.malloc_trim(0)
