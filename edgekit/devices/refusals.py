"""Why a device could not be reached, in words: ssh says it on stderr, in its own."""

from __future__ import annotations

import re

from edgekit.errors import EnvironmentLacks


class Unreachable(EnvironmentLacks):
    """No connection to a device, or one that broke."""


# What OpenSSH writes, what that means, and how to go on; %s is the destination.
_MEANINGS: tuple[tuple[str, str, str], ...] = (
    (
        r"REMOTE HOST IDENTIFICATION HAS CHANGED|Offending \S+ key",
        "the host key of %s is another one than before",
        "if the device was flashed again, remove the old key: ssh-keygen -R HOST; if it was not, "
        "somebody else may answer in its place",
    ),
    (
        r"Host key verification failed|No \S+ host key is known",
        "the host key of %s is not known here",
        "run `ssh %s` once yourself, and compare the fingerprint with the device's",
    ),
    (
        r"Permission denied|Too many authentication failures|No more authentication methods",
        "%s does not let you in: %reason",
        "edgekit asks for no password: put your key there with `ssh-copy-id %s`, or load it into "
        "your agent with ssh-add",
    ),
    (
        r"Could not resolve hostname",
        "%s cannot be found: %reason",
        "check the name, or add it to ~/.ssh/config",
    ),
    (
        r"Connection refused",
        "%s refuses the connection: no ssh server answers there",
        "check the address and the port, and that sshd runs on the device",
    ),
    (
        r"No route to host|Network is unreachable",
        "there is no route to %s",
        "check that the device is on, and that both are in the same network",
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
AGAIN = "run the same command again: what has arrived stays there, and the rest follows"


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
    """The error for a run of ssh that did not come to its end.

    Args:
        destination: as the user named it. code: of ssh, 255 where ssh itself failed. stderr: what
        ssh and the device wrote there. noise: what a login shell printed before the program.
        begun: whether the program began. overdue: whether it was ended for its time. step: the
        name of the program.
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
            f"ssh cannot connect to {destination}: {last or 'it gives no reason'}",
            hint=f"try `ssh {destination} true` yourself",
        )
    heard = (noise.strip().splitlines() or said or ["nothing"])[-1]
    return Unreachable(
        f"{destination} runs no commands: its login shell ended with {code} and said {heard!r}",
        hint=f"`ssh {destination} 'echo ready'` has to print ready",
    )
