"""What the tests of opsets share."""

from __future__ import annotations

import numpy as np


def ints(*numbers):
    return np.array(numbers, np.int64)
