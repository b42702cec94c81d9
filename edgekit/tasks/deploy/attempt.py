"""A deployment as far as it got, and its report on this machine."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from edgekit.advice import Advice
from edgekit.bundle import Bundle
from edgekit.devices.book import Device, book_path
from edgekit.errors import EdgekitError
from edgekit.files import replacing
from edgekit.reports.deployment import STATUS_OF, Deployment

DEPLOYMENTS = "deployments"
LAST_FAILURE = "last-failure"
LOG_LINES = 20
OnStep = Callable[[str], None]


def name_of(bundle: Bundle) -> str:
    """The name of a bundle on devices, which is the name of its folder."""
    return bundle.path.resolve().name


class Attempt:
    """Collects the row of a deployment while it runs, so that a failure loses nothing."""

    def __init__(self, bundle: Bundle, device: Device, on_step: OnStep) -> None:
        self._on_step = on_step
        self.row = Deployment(
            device=device.name,
            bundle=bundle.path,
            name=name_of(bundle),
            status="failed",
            runtime=device.runtime,
            manifest=bundle.manifest,
            when=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        )

    def step(self, what: str) -> None:
        """Notes the step that begins. Progress within a step replaces its line."""
        steps = self.row.steps
        again = bool(steps) and steps[-1].split(" ")[0] == what.split(" ")[0]
        self.learn(steps=(*(steps[:-1] if again else steps), what))
        self._on_step(what)

    def learn(self, **found: Any) -> None:
        """Adds what is known now."""
        self.row = replace(self.row, **found)

    def fail(self, error: EdgekitError) -> None:
        self.learn(
            status=STATUS_OF.get(error.exit_code, "failed"),
            release="",
            path="",
            exit_code=error.exit_code,
            message=error.message.removeprefix(f"{self.row.device}: "),
            hint=error.hint,
        )


def save(row: Deployment, log: bytes) -> Deployment:
    """Saves the report next to the list of devices: that of an active release by its name, that of
    a failure, with the log of the device, as the last one. If nothing was learned of the device,
    there is nothing to save. The deployment itself has ended, so a report that cannot be saved is
    only a warning.
    """
    if row.facts is None:
        return row
    folder = book_path().parent / DEPLOYMENTS / row.device / row.name
    path = folder / f"{row.release if row.ok else LAST_FAILURE}.json"
    text = log.decode(errors="replace")
    saved = replace(row, record=path)
    if not row.ok and text.strip():
        lines = tuple(text.splitlines()[-LOG_LINES:])
        saved = replace(saved, log=path.with_suffix(".log"), log_end=lines)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not row.ok:
            path.with_suffix(".log").unlink(missing_ok=True)
        if saved.log is not None:
            _write(saved.log, text)
        _write(path, json.dumps(saved.to_json(), indent=1) + "\n")
    except OSError as error:
        unsaved = Advice(
            f"the report cannot be saved as {path}: {error.strerror or error}",
            "set EDGEKIT_CONFIG to another folder",
        )
        return replace(saved, record=None, log=None, advice=(*row.advice, unsaved))
    return saved


def _write(path: Path, text: str) -> None:
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")
