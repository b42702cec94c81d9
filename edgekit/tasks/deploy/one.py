"""Deploys one bundle to one device: the order of the work. A release becomes active only after its
parity passed on the device. After any failure the old release stays active.
"""

from __future__ import annotations

import io
import json
import time
from pathlib import Path

from edgekit.advice import Advice
from edgekit.bundle import Bundle
from edgekit.bundle.proof import golden_failures
from edgekit.comparison import compare
from edgekit.devices.book import Device
from edgekit.devices.facts import SKEW_SECONDS, DeviceFacts
from edgekit.devices.items import release_id
from edgekit.devices.program import Program
from edgekit.devices.runtimes import DeviceRuntime, Options, Proof, Release, find
from edgekit.devices.site import Site, check, lock_owner, push, release_of, settle, there
from edgekit.devices.ssh import Connection
from edgekit.errors import BadBundle, EdgekitError, GateFailed, lacking
from edgekit.machine.environment import X86
from edgekit.reports.deployment import Deployment, Proven, show_bytes
from edgekit.tasks.deploy.attempt import Attempt, OnStep, name_of, save

LONGEST_NAME = 200  # bytes; the file systems of devices allow 255


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


def deploy_one(
    bundle: Bundle, device: Device, connection: Connection, options: Options, on_step: OnStep
) -> Deployment:
    """Opens the connection, deploys, closes the connection, and saves the report. A failure is a
    row too; the old release stays active then.
    """
    begun = time.perf_counter()
    attempt = Attempt(bundle, device, on_step)
    try:
        with lock_owner() as owner, connection:
            _deploy(attempt, bundle, device, connection, options, owner)
    except (EdgekitError, OSError) as error:
        told = error if isinstance(error, EdgekitError) else lacking(error)
        if told is None:
            raise
        attempt.fail(told)
    attempt.learn(trips=connection.trips, seconds=time.perf_counter() - begun)
    return save(attempt.row, connection.log)


def _deploy(
    attempt: Attempt,
    bundle: Bundle,
    device: Device,
    connection: Connection,
    options: Options,
    owner: str,
) -> None:
    """
    Raises:
        BadBundle: another process replaced the bundle.
        InputError: the bundle does not fit this device.
        EnvironmentLacks: there is no connection, or the device lacks something or failed.
        GateFailed: the results on the device miss the gate.
    """
    runtime, name = find(device.runtime), name_of(bundle)
    attempt.step("connects")
    candidates = runtime.candidates(bundle)
    bundle.check_current()
    site = settle(connection, device, name, candidates, owner)
    attempt.learn(facts=site.facts)
    advice = (*_cautions(site.facts), *runtime.check(site.facts, bundle, options))
    attempt.learn(runtime=f"{runtime.name} {runtime.version(site.facts)}", advice=advice)
    items = runtime.needed(site.facts, bundle, candidates)
    release = Release(
        bundle, name, release_id(items, *runtime.key(site.facts, options)), items, options
    )
    attempt.learn(sent=push(site, items, lambda done, total: attempt.step(_sending(done, total))))
    proof = runtime.prove(site, release, attempt.step)
    proven = _judged(proof, bundle, runtime, site.facts)
    attempt.learn(proven=proven, advice=(*advice, *proof.advice))
    if proven.failures:
        raise GateFailed("; ".join(proven.failures), hint=_kept(site))
    attempt.step("activates")
    attempt.learn(status="active", release=release.id, path=there(site.root, name))
    attempt.learn(previous=_activate(site, attempt.row))


def _activate(site: Site, deployment: Deployment) -> str:
    """Makes the release active; gives the name of the one before it."""
    report = json.dumps(deployment.to_json(), indent=1).encode()
    arguments = (site.root, deployment.name, deployment.release, str(len(report)))
    reply = site.connection.run(Program("activate", arguments), payload=io.BytesIO(report))
    check(reply, site.device)
    return release_of(reply.first("previous"))


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
        failures=(
            *failures,
            *(proof.audit.failures if proof.audit is not None else ()),
            *proof.pixels.failures,
        ),
        batch=proof.batch,
        batches=tuple(parities),
        latency=proof.latency,
        end_to_end=proof.end_to_end,
        settled=proof.settled,
        detail=proof.detail,
        pixels=proof.pixels,
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
    return f"sends {show_bytes(total)} ({done / total:.0%})"
