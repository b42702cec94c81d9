"""Several devices at once, and the list of devices."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import edgekit as api
from edgekit.devices import book
from edgekit.errors import InputError

from .conftest import AddHost, EdgekitCall, quick, refused


def test_what_fails_on_one_costs_its_row_alone_and_is_resumed(
    host: AddHost, edgekit: EdgekitCall, bundle: Path
) -> None:
    names = ("one", "two", "three")
    hosts = {name: host(name) for name in names}
    for name in names:
        assert edgekit("device", "add", name, name).code == 0
    hosts["two"].stop()
    result = edgekit(*quick(bundle, *names))
    assert result.code == 1
    rows = [line.split() for line in result.out.splitlines()]
    assert [row[2] for row in rows[1:4]] == ["active", "failed", "active"]
    assert "two refuses the connection" in result.out
    assert "1 of 3 deployments are not active" in result.err
    assert hosts["one"].current(bundle.name) and not hosts["two"].current(bundle.name)

    hosts["two"].run()
    again = edgekit(*quick(bundle, *names), "--json")
    assert again.code == 0, again.err
    sent = {row["device"]: row["sent"] for row in json.loads(again.out)["rows"]}
    assert sent["one"] == sent["three"] == 0 < sent["two"]


def test_all_that_fail_alike_end_with_their_code(
    host: AddHost, edgekit: EdgekitCall, bundle: Path
) -> None:
    for name in ("one", "two"):
        device = host(name)
        assert edgekit("device", "add", name, name).code == 0
        device.stop()
    assert edgekit(*quick(bundle, "one", "two")).code == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("deploy", "orin"), "the last argument is the devices"),
        (("deploy", "nowhere", "ghost"), "there is no device 'ghost'"),
        (("deploy", "nowhere", "a,,b"), "a name is empty"),
        (("deploy", "nowhere", "a", "--seconds", "0"), "invalid value for --seconds: 0"),
        (("deploy", "nowhere", "a", "--time-limit", "nan"), "invalid value for --time-limit"),
        (("deploy", "nowhere", "a", "--builds", "0"), "--builds 0 is outside 1 … 20"),
        (("deploy", "nowhere", "a", "--batch", "8:4"), "invalid value for --batch: 8:4"),
        (("deploy", "nowhere", "a", "--batch", "1,4"), "an engine on a device has one range"),
        (("device", "ad"), "unknown action 'ad'"),
        (("device", "add", "orin"), "device add takes NAME and SSH-DESTINATION"),
        (("device", "list", "orin"), "device list takes nothing more"),
        (("device", "check", "ghost"), "there is no device 'ghost'"),
        (("device", "remove", "ghost"), "there is no device 'ghost'"),
        (("device", "rollback", "ghost", "b"), "there is no device 'ghost'"),
        (("device", "add", "a b", "host"), "'a b' cannot be the name of a device"),
        (("device", "add", "a", "host", "--runtime", "tvm"), "unknown runtime 'tvm'"),
        (("device", "check", "a", "--root", "/data"), "--root is for `edgekit device add`"),
    ],
)
def test_wrong_arguments(
    edgekit: EdgekitCall,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    message: str,
) -> None:
    monkeypatch.setenv("EDGEKIT_CONFIG", str(tmp_path / "config"))
    result = edgekit(*arguments)
    assert (result.code, result.out) == (2, "")
    assert message in result.err
    assert "hint: " in result.err
    assert not (tmp_path / "config").exists()


def test_a_device_or_a_bundle_that_is_given_twice(
    edgekit: EdgekitCall, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bundle: Path
) -> None:
    monkeypatch.setenv("EDGEKIT_CONFIG", str(tmp_path / "config"))
    book.keep(book.Device(name="a", destination="a", runtime="onnxruntime"))
    twice = edgekit("deploy", bundle, "a,a")
    assert (twice.code, "the device a is given twice" in twice.err) == (2, True)
    twice = edgekit("deploy", bundle, bundle, "a")
    assert (twice.code, "given twice" in twice.err) == (2, True)


def test_a_batch_for_a_bundle_that_has_a_fixed_one(
    edgekit: EdgekitCall, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bundle: Path
) -> None:
    monkeypatch.setenv("EDGEKIT_CONFIG", str(tmp_path / "config"))
    book.keep(book.Device(name="a", destination="a", runtime="trtexec"))
    refused(edgekit("deploy", bundle, "a", "--batch", "1:4:8"), 2, "a fixed batch of 16: --batch")


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"schema_version": 9}', '{"schema_version": 1, "devices": 3}']
)
def test_a_list_of_devices_that_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("EDGEKIT_CONFIG", str(tmp_path))
    book.book_path().write_text(text)
    with pytest.raises(InputError):
        book.devices()


def test_devices_are_kept_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEKIT_CONFIG", str(tmp_path / "new"))
    assert book.devices() == ()
    for name in ("b", "a"):
        book.keep(book.Device(name=name, destination=f"user@{name}", runtime="trtexec"))
    assert [device.name for device in book.devices()] == ["a", "b"]
    assert book.forget("a").destination == "user@a"
    assert [device.name for device in book.devices()] == ["b"]


def test_a_deployment_without_devices_or_bundles_says_what_to_give() -> None:
    for bundles, devices, hint in (
        (("nowhere",), (), "edgekit device add"),
        ((), ("orin",), "edgekit export"),
    ):
        with pytest.raises(InputError, match="is given") as refusal:
            api.deploy(*bundles, devices=devices)
        assert hint in (refusal.value.hint or "")
