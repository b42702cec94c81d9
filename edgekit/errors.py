"""Every error that edgekit raises on purpose, drawn as one tree.

EdgekitError
├── GateFailed (1)          a gate was not met: parity, accuracy, latency, precision audit
├── InputError (2)          what the user gave is wrong
│   ├── UnknownNetwork
│   ├── BadNetwork              a factory or graph that edgekit cannot take
│   ├── BadWeights
│   ├── BadImage
│   └── BadBundle
└── EnvironmentLacks (3)    an extra, a GPU, the network or the device is missing
    └── WeightsUnavailable

The number is the exit code of the command line. Anything else that escapes is a bug of ours (70).
"""

from __future__ import annotations


class EdgekitError(Exception):
    """An expected failure: what happened, and a hint that says how to go on. ``trail`` names the step that failed and those before it."""

    exit_code = 70

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.trail: str | None = None


class GateFailed(EdgekitError):
    exit_code = 1


class InputError(EdgekitError):
    exit_code = 2


class UnknownNetwork(InputError):
    pass


class BadNetwork(InputError):
    pass


class BadWeights(InputError):
    pass


class BadImage(InputError):
    pass


class BadBundle(InputError):
    pass


class EnvironmentLacks(EdgekitError):
    exit_code = 3


class WeightsUnavailable(EnvironmentLacks):
    pass
