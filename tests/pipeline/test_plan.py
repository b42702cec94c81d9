"""The table of the conversion, and the loop that runs it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edgekit.artifact import Artifact
from edgekit.bundle import CPU_MODEL, MODEL, STRONG_MODEL
from edgekit.comparison import DEFAULT_GATES, Gate
from edgekit.errors import BadNetwork
from edgekit.pipeline.conversion import convert
from edgekit.pipeline.converted import Context, Converted
from edgekit.pipeline.plan import Stage, plan
from edgekit.pipeline.precision import Fp16, Fp32, Int8, Precision
from edgekit.progress import Quiet, Steps

GATE, EXACT = Gate(sqnr=33.0), DEFAULT_GATES["fp32"]


def rows(precision: Precision, *, pixels: bool = False) -> list[list[tuple[object, ...]]]:
    groups = plan(precision, GATE, batch=1, opset=17, pixels=pixels)
    return [[(s.rung, s.gate, s.ships_as, s.unseen) for s in group] for group in groups]


def test_the_gate_is_that_of_the_last_graph_and_all_before_it_are_exact() -> None:
    traced = ("onnx", EXACT, None, False)
    simplified = ("simplified", EXACT, MODEL, False)
    last = ("simplified", GATE, MODEL, False)
    assert rows(Fp32()) == [[traced, last], [], []]
    assert rows(Fp32(), pixels=True) == [
        [traced, simplified],
        [("uint8 input", GATE, MODEL, False)],
        [],
    ]
    assert rows(Fp16()) == [[traced, simplified], [], [("fp16", GATE, MODEL, False)]]
    assert rows(Int8())[2] == [
        ("int8", GATE, MODEL, True),
        ("int8 for CPUs", GATE, CPU_MODEL, True),
        ("int8 for strong typing", GATE, STRONG_MODEL, True),
    ]


class FakeLadder:
    """Notes the rungs; ``failing`` fails."""

    def __init__(self, *, failing: str = "") -> None:
        self.rungs: list[str] = []
        self.failing = failing

    def add_rung(self, name: str, *_: object, **__: object) -> None:
        if name == "refused":
            raise BadNetwork("it cannot be loaded")
        self.rungs.append(name)

    @property
    def passed(self) -> bool:
        return self.failing not in self.rungs


def made(name: str) -> Converted:
    return Converted(Artifact(Path(name), "onnx", "fp32", (), (), name))


def stage(name: str) -> Stage:
    def step(given: Converted | None, config: None, context: Context) -> Converted:
        return made(name) if given is None else replace(given, graph=made(name).graph)

    return Stage(name, step, None, name, GATE, ships_as=f"{name}.onnx")


def run(groups: list[list[Stage]], ladder: FakeLadder) -> Converted:
    context: Any = SimpleNamespace(images_for=lambda graph: None)
    return convert(groups, context, ladder, Steps(Quiet()))  # type: ignore[arg-type]


def test_a_group_begins_only_where_the_rungs_before_it_passed() -> None:
    groups = [[stage("a"), stage("b")], [stage("c")], [stage("d")]]
    ladder = FakeLadder(failing="a")
    assert set(run(groups, ladder).shipped) == {"a.onnx", "b.onnx"}
    assert ladder.rungs == ["a", "b"]
    ladder = FakeLadder(failing="none")
    assert run(groups, ladder).graph.sha256 == "d" and ladder.rungs == ["a", "b", "c", "d"]


def test_an_error_of_a_rung_is_raised() -> None:
    with pytest.raises(BadNetwork, match="cannot be loaded"):
        run([[stage("refused"), stage("b")]], FakeLadder())
