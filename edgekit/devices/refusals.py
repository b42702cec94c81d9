"""Explains why a device cannot be reached, from the messages of ssh."""

from __future__ import annotations

import re

from edgekit.errors import EnvironmentLacks


class Unreachable(EnvironmentLacks):
    """There is no connection to a device, or it broke."""


# A message of OpenSSH, its meaning, and a hint; %s is the destination.
_MEANINGS: tuple[tuple[str, str, str], ...] = (
    (
        r"REMOTE HOST IDENTIFICATION HAS CHANGED|Offending \S+ key",
        "the host key of %s has changed",
        "if the device was flashed again, remove the old key: ssh-keygen -R HOST; if not, "
        "another machine may have its address",
    ),
    (
        r"Host key verification failed|No \S+ host key is known",
        "ssh has no host key of %s",
        "run `ssh %s` once yourself, and compare the fingerprint with that of the device",
    ),
    (
        r"Permission denied|Too many authentication failures|No more authentication methods",
        "%s refuses the login: %reason",
        "edgekit does not use passwords: copy your key to the device with `ssh-copy-id %s`, or "
        "load it into your agent with ssh-add",
    ),
    (
        r"Could not resolve hostname",
        "%s cannot be found: %reason",
        "check the name, or add it to ~/.ssh/config",
    ),
    (
        r"Connection refused",
        "%s refuses the connection: no ssh server runs there",
        "check the address and the port, and that sshd runs on the device",
    ),
    (
        r"No route to host|Network is unreachable",
        "there is no route to %s",
        "check that the device is on, and that both machines are in the same network",
    ),
    (
        r"Operation timed out|Connection timed out|timed out during banner",
        "%s does not answer",
        "check that the device is on, and its address",
    ),
)
_BROKEN = re.compile(
    r"Connection (reset|closed|to .* closed)|Broken pipe|not responding|mux_client|Write failed"
    r"|kex_exchange_identification|Bad packet|Corrupted MAC|message authentication code"
)
AGAIN = "run the same command again: only the rest is sent"


def explain(
    destination: str,
    code: int,
    stderr: str,
    noise: str,
    *,
    begun: bool,
    overdue: bool,
    step: str,
) -> Unreachable:
    """The error for a run of ssh that did not end normally.

    Args:
        destination: the name from the user.
        code: the exit code of ssh, 255 if ssh itself failed.
        stderr: the messages of ssh and the device.
        noise: what a login shell printed before the program.
        begun: whether the program began.
        overdue: whether it was ended because of its time limit.
        step: the name of the program.
    """
    said = [line.strip() for line in stderr.splitlines() if line.strip()]
    last = said[-1] if said else ""
    if overdue:
        return Unreachable(f"{destination} did not finish the step {step!r} in time", hint=AGAIN)
    if not begun:
        for pattern, meaning, hint in _MEANINGS:
            line = next((line for line in said if re.search(pattern, line)), None)
            if line is not None:
                message = meaning.replace("%reason", line.rpartition(": ")[2].rstrip("."))
                return Unreachable(
                    message.replace("%s", destination), hint=hint.replace("%s", destination)
                )
    if begun or _BROKEN.search(stderr) or code < 0:
        return Unreachable(
            f"the connection to {destination} broke" + (f": {last}" if last else ""), hint=AGAIN
        )
    if code == 255:
        return Unreachable(
            f"ssh cannot connect to {destination}: {last or 'it gave no reason'}",
            hint=f"run `ssh {destination} true` yourself",
        )
    heard = (noise.strip().splitlines() or said or ["nothing"])[-1]
    return Unreachable(
        f"{destination} runs no commands: its login shell ended with {code} and printed {heard!r}",
        hint=f"`ssh {destination} 'echo ready'` must print ready",
    )
