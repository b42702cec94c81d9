"""Programs as they travel: arguments stay data in every shell, and only their own lines are read."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.devices.program import Program, Reader, command_for

from .conftest import answer

SHELLS = [shell for shell in ("sh", "bash", "dash", "zsh", "fish", "tcsh") if shutil.which(shell)]
NASTY = (
    "",
    " ",
    "-n",
    "a b",
    "it's",
    '"',
    "$HOME",
    "`id`",
    "$(id)",
    "x;y",
    "a\nb",
    "*",
    "\\",
    "é",
    "!1",
)


@pytest.mark.parametrize("shell", SHELLS)
def test_arguments_are_data(shell: str, tmp_path: Path) -> None:
    """Those of the program, and those of its commands."""
    told, all_of = shlex.quote(str(tmp_path / "told")), shlex.quote(str(tmp_path / "all"))
    program = Program("describe", NASTY, commands=(("tell", ("printf", "%s|", *NASTY)),))
    head = program.text().partition(b'facts "$1"')[0]
    body = (
        f'limit=9\nput count $#\nprintf "%s|" "$@" >{all_of}\nsend all {all_of}\n'
        f"tell >{told}\nsend told {told}\nput end 0\n"
    )
    reply = answer(shell, head + body.encode(), program.nonce).reply()
    assert reply.first("count") == str(len(NASTY))
    expected = "".join(f"{word}|" for word in NASTY).encode()
    assert reply.files == {"all": expected, "told": expected}


@pytest.mark.parametrize("shell", SHELLS)
def test_no_byte_of_the_input_is_taken_for_the_program(shell: str) -> None:
    payload = bytes(range(256)) * 300
    text = b"nonce=n1\nprintf 'n1 begin\\nn1 size %s\\nn1 end 0\\n' $(wc -c)\n"
    reply = answer(shell, text, "n1", payload).reply()
    assert reply.first("size") == str(len(payload))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.one_of(st.binary(max_size=40), st.sampled_from([b"e1 end 1", b"begin", b"\n"]))),
    st.binary(max_size=200),
    st.lists(st.integers(1, 50), max_size=30),
)
def test_noise_changes_nothing(noise: list[bytes], data: bytes, cuts: list[int]) -> None:
    """Whatever a login shell prints, before and between, and however the output is cut."""
    mark = b"e0123456789abcdef"
    ours = [b"begin 7", b"key some value", b"file f %d\n%s" % (len(data), data), b"end 0"]
    lines = [b"".join(noise).replace(mark, b"")]
    for line in ours:
        lines += [mark + b" " + line, b"e1 key other"]
    stream = b"\n".join(lines[:-1]) + b"\n"
    reader = Reader(mark.decode())
    for cut in cuts:
        reader.feed(stream[:cut])
        stream = stream[cut:]
    reader.feed(stream)
    reply = reader.reply()
    assert reader.ended
    assert reply.all("key") == ["some value"]
    assert reply.files == {"f": data}
    assert reply.problem is None


def test_a_connection_that_hung_does_not_remove_the_lock_of_the_next_deployment(
    tmp_path: Path,
) -> None:
    program = Program("begin", (str(tmp_path), "lenet", "me 1 aa", "", ""), ("facts", "lock"))
    text, lock = program.text(), tmp_path / "lock"
    with subprocess.Popen(
        ["sh", "-c", command_for(text)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as hung:
        assert hung.stdin is not None and hung.stdout is not None
        hung.stdin.write(text)
        hung.stdin.flush()
        reader = Reader(program.nonce)
        while not reader.ended:
            reader.feed(hung.stdout.readline() or pytest.fail("it ended"))
        assert str(lock.readlink()).endswith("me 1 aa")
        lock.unlink()
        lock.symlink_to("2 boot me 2 bb")
    assert str(lock.readlink()) == "2 boot me 2 bb"


@pytest.mark.parametrize(("payload", "problem"), [(b"{}", None), (b"{", "short")])
def test_a_report_that_is_cut_off_activates_nothing(
    tmp_path: Path, payload: bytes, problem: str | None
) -> None:
    """When a connection breaks, the program reads the end of its input, and goes on."""
    base = tmp_path / "bundles" / "lenet"
    (base / "releases" / ".new.partial").mkdir(parents=True)
    (tmp_path / "copies").touch()
    program = Program("activate", (str(tmp_path), "lenet", "new", "2"))
    reply = answer("sh", program.text(), program.nonce, payload).reply()
    assert (reply.problem and reply.problem[0]) == problem
    assert (base / "current").is_symlink() is (problem is None)


def test_a_problem_has_a_kind() -> None:
    reader = Reader("n")
    reader.feed(b"n begin\nn problem write /a b: No space left on device\nn end 1\n")
    assert reader.reply().problem == ("write", "/a b: No space left on device")


def test_two_programs_have_two_words() -> None:
    assert Program("describe", ()).nonce != Program("describe", ()).nonce
