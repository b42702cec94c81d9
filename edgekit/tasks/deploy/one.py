"""Deploys one bundle to one device: the order of the work. A release becomes active only after its
parity passed on the device. After any failure the old release stays active.
"""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from edgekit.advice import Advice
from edgekit.bundle import Bundle
from edgekit.bundle.proof import golden_failures
from edgekit.comparison import compare
from edgekit.devices.book import Device, book_path
from edgekit.devices.facts import SKEW_SECONDS, DeviceFacts
from edgekit.devices.items import release_id
from edgekit.devices.program import Program
from edgekit.devices.runtimes import DeviceRuntime, Options, Proof, Release, find
from edgekit.devices.site import Site, check, push, release_of, settle, there
from edgekit.devices.ssh import Connection
from edgekit.errors import BadBundle, GateFailed
from edgekit.machine.environment import X86
from edgekit.reports.deployment import Deployment, Proven

DEPLOYMENTS = "deployments"
LONGEST_NAME = 200  # bytes; the file systems of devices allow 255
OnStep = Callable[[str], None]


class NotProven(GateFailed):
    """A device missed the gate; ``row`` has the measurements."""

    def __init__(self, message: str, row: Deployment, hint: str) -> None:
        super().__init__(message, hint=hint)
        self.row = row


def open_deployable(path: Path) -> Bundle:
    """A bundle that may go to devices.

    Raises:
        BadBundle: the bundle must not go to devices, or its name cannot be a folder there.
    """
    bundle = Bundle.open(path)
    bundle.check_deployable()
    name = name_of(bundle)
    if not name.isprintable() or len(name.encode()) > LONGEST_NAME:
        raise BadBundle(f"{path}: {name!r} cannot be a folder on a device", hint="rename it")
    return bundle


def name_of(bundle: Bundle) -> str:
    """The name of a bundle on devices, which is the name of its folder."""
    return bundle.path.resolve().name


def deploy_one(
    bundle: Bundle, device: Device, connection: Connection, options: Options, on_step: OnStep
) -> Deployment:
    """Opens the connection, deploys, and closes the connection.

    Raises:
        InputError: the bundle does not fit this device.
        EnvironmentLacks: there is no connection, or the device lacks something or failed.
        GateFailed: the results on the device miss the gate.
    """
    begun = time.perf_counter()
    runtime, name = find(device.runtime), name_of(bundle)
    with connection:
        on_step("connects")
        candidates = runtime.candidates(bundle)
        site = settle(connection, device, name, candidates)
        advice = (*_cautions(site.facts), *runtime.check(site.facts, bundle, options))
        items = runtime.needed(site.facts, bundle, candidates)
        identity = release_id(items, *runtime.key(site.facts, options))
        release = Release(bundle, name, identity, items, options)
        sent = push(site, items, lambda done, total: on_step(_sending(done, total)))
        proof = runtime.prove(site, release, on_step)
        proven = _judged(proof, bundle, runtime, site.facts)
        deployment = Deployment(
            device=device.name,
            bundle=bundle.path,
            name=name,
            status="active",
            runtime=f"{runtime.name} {runtime.version(site.facts)}",
            release=release.id,
            path=there(site.root, name),
            sent=sent,
            proven=proven,
            facts=site.facts,
            manifest=bundle.manifest,
            advice=(*advice, *proof.advice),
        )
        if proven.failures:
            raise NotProven("; ".join(proven.failures), deployment, _kept(site))
        on_step("activates")
        deployment = _activate(site, deployment)
        trips = connection.trips
    deployment = replace(deployment, trips=trips, seconds=time.perf_counter() - begun)
    return _record(deployment)


def _activate(site: Site, deployment: Deployment) -> Deployment:
    report = json.dumps(deployment.to_json(), indent=1).encode()
    arguments = (site.root, deployment.name, deployment.release, str(len(report)))
    reply = site.connection.run(Program("activate", arguments), payload=io.BytesIO(report))
    check(reply, site.device)
    return replace(deployment, previous=release_of(reply.first("previous")))


def _judged(proof: Proof, bundle: Bundle, runtime: DeviceRuntime, facts: DeviceFacts) -> Proven:
    golden = bundle.golden()
    same = runtime.name == "onnxruntime" and facts.architecture in X86
    parities, failures = {}, list[str]()
    for size, scores in proof.scores.items():
        if scores.shape != golden.outputs.shape:
            raise GateFailed(
                f"the device computed scores of shape {scores.shape}; the golden outputs have "
                f"{golden.outputs.shape}"
            )
        parities[size] = compare(golden.outputs, scores)
        where = f"in batches of {size}: " if len(proof.scores) > 1 else ""
        failures += [
            f"{where}{failure}"
            for failure in golden_failures(parities[size], bundle.manifest, elsewhere=not same)
        ]
    return Proven(
        parity=parities[proof.batch],
        failures=(*failures, *(proof.audit.failures if proof.audit is not None else ())),
        batch=proof.batch,
        batches=tuple(parities),
        latency=proof.latency,
        end_to_end=proof.end_to_end,
        settled=proof.settled,
        detail=proof.detail,
        engine_mb=proof.engine_mb,
        built=proof.built,
        reused=proof.reused,
        audit=proof.audit,
    )


def _kept(site: Site) -> str:
    return (
        f"the old release {site.current} stays active"
        if site.current
        else "no release is active on the device"
    )


def _cautions(facts: DeviceFacts) -> tuple[Advice, ...]:
    if facts.skew is None or abs(facts.skew) < SKEW_SECONDS:
        return ()
    side = "ahead of" if facts.skew > 0 else "behind"
    return (
        Advice(
            f"the device's clock is {abs(facts.skew):.0f} s {side} this machine's: the dates of "
            "its files are wrong",
            "run sudo timedatectl set-ntp true on the device",
        ),
    )


def _sending(done: int, total: int) -> str:
    return f"sends {done / 1e6:.1f} of {total / 1e6:.1f} MB"


def _record(deployment: Deployment) -> Deployment:
    """Saves the report next to the list of devices. The release is active already, so a failure is
    only a warning.
    """
    folder = book_path().parent / DEPLOYMENTS / deployment.device / deployment.name
    path = folder / f"{deployment.release}.json"
    recorded = replace(deployment, record=path)
    partial = path.with_suffix(".partial")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        partial.write_text(json.dumps(recorded.to_json(), indent=1) + "\n", encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        unsaved = Advice(
            f"the report cannot be saved as {path}: {error.strerror or error}",
            "set EDGEKIT_CONFIG to another folder",
        )
        return replace(deployment, advice=(*deployment.advice, unsaved))
    return recorded
