"""Rewrites the zoo's tables in README.md and docs/zoo.md from the catalogue, the table of weights
and the last runs of zoo_export.py and zoo_int8.py.

    python docs/make_zoo.py

A table stands between ``<!-- NAME:begin -->`` and ``<!-- NAME:end -->``; what is around it is not
touched.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from edgekit.models import Variant, variants
from edgekit.models.pretrained.weights import WEIGHTS

ROOT = Path(__file__).resolve().parents[1]
README, ZOO = ROOT / "README.md", ROOT / "docs" / "zoo.md"
EXPORTS = ROOT / "benchmarks" / "results" / "zoo_export.json"
INT8 = ROOT / "benchmarks" / "results" / "zoo_int8.json"
LISTED = 8  # names of a family that README spells out

FAMILIES = {
    "lenet": "LeNet-5",
    "alexnet": "AlexNet",
    "vgg": "VGG",
    "googlenet": "GoogLeNet",
    "resnet": "ResNet",
    "wide_resnet": "Wide ResNet",
    "resnext": "ResNeXt",
    "mobilenetv1": "MobileNetV1",
    "mobilenetv2": "MobileNetV2",
    "mobilenetv3": "MobileNetV3",
    "shufflenetv1": "ShuffleNetV1",
    "shufflenetv2": "ShuffleNetV2",
    "efficientnet_b": "EfficientNet",
    "efficientnet_lite": "EfficientNet-Lite",
    "efficientnetv2": "EfficientNetV2",
}


def rendered() -> dict[Path, str]:
    """The text that each file should have."""
    readme = replace(README.read_text(encoding="utf-8"), "zoo", family_table())
    zoo = replace(ZOO.read_text(encoding="utf-8"), "catalogue", catalogue())
    zoo = replace(zoo, "exports", exports())
    return {README: readme, ZOO: replace(zoo, "int8", int8())}


def replace(text: str, name: str, table: str) -> str:
    """``text`` with ``table`` between the markers called ``name``.

    Raises:
        ValueError: the markers are not there once each, or stand in the wrong order.
    """
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise ValueError(f"need {begin} once, and {end} once behind it")
    before, _, rest = text.partition(begin)
    return f"{before}{begin}\n{table}\n{end}{rest.partition(end)[2]}"


def family_table() -> str:
    """README's: one row a family."""
    rows = []
    for title, members in _families():
        names = [f"`{v.name}`" for v in members]
        listed = (
            ", ".join(names) if len(names) <= LISTED else f"{names[0]} … {names[-1]} ({len(names)})"
        )
        top1 = [w.top1 for v in members if (w := WEIGHTS.get(v.name)) and w.top1 is not None]
        share = _range(top1, ".1f", " %") + (" (Fashion-MNIST)" if title == "LeNet-5" else "")
        with_weights = sum(v.name in WEIGHTS for v in members)
        rows.append(
            [
                f"{title} ({_papers(members)})",
                listed,
                _range(
                    [v.params / 1e6 for v in members], ".2f" if title == "LeNet-5" else ".1f", " M"
                ),
                _macs(members),
                share,
                f"{with_weights} of {len(members)}",
            ]
        )
    rows.append(
        [
            "**all**",
            f"{len(variants())} networks",
            "",
            "",
            "",
            f"{len(WEIGHTS)} of {len(variants())}",
        ]
    )
    return _markdown(
        ["family", "networks", "parameters", "MACs", "published top-1", "with weights"],
        "llrrrr",
        rows,
    )


def catalogue() -> str:
    """One table a family: what every variant is."""
    parts = []
    for title, members in _families():
        rows = []
        for v in members:
            weights = WEIGHTS.get(v.name)
            top1 = "–" if weights is None or weights.top1 is None else f"{weights.top1:.2f}"
            source = "–" if weights is None else f"{weights.source} ({weights.licence})"
            rows.append(
                [
                    f"`{v.name}`",
                    f"{v.params:,}",
                    f"{v.macs / 1e6:,.1f} M",
                    str(v.transform.size),
                    top1,
                    source,
                ]
            )
        table = _markdown(
            ["network", "parameters", "MACs", "size", "top-1", "weights"], "lrrrrl", rows
        )
        parts.append(
            f"### {title}\n\nPaper: {_papers(members)}; code: "
            f"`models/{members[0].family}.py`\n\n{table}"
        )
    return "\n\n".join(parts)


def exports() -> str:
    """What came of exporting every variant, and on which machine."""
    run: dict[str, Any] = json.loads(EXPORTS.read_text(encoding="utf-8"))
    rows = []
    for row in run["rows"]:
        size, seconds = row["megabytes"], sum(row["cpu_seconds"].values())
        slim = "–" if row["slim_nodes"] is None else str(row["slim_nodes"])
        plan = f"{size['plan']:.1f}" if row["plan_error"] is None else "failed"
        errors = [
            f"{row['fp32']['relative']:.0e}",
            f"{row['fp32']['sqnr']:.0f}",
            f"{row['fp16']['relative']:.0e}",
            f"{row['fp16']['sqnr']:.0f}",
        ]
        sizes = [f"{size['fp32']:.1f}", f"{size['fp16']:.1f}", plan]
        rows.append(
            [
                f"`{row['name']}`",
                str(row["size"]),
                f"{seconds:.0f}",
                str(row["nodes"]),
                slim,
                *sizes,
                *errors,
            ]
        )
    header = ["network", "size", "CPU s", "nodes", "onnxslim", "fp32 MB", "fp16 MB", "plan MB"]
    header += ["fp32 error", "fp32 dB", "fp16 error", "fp16 dB"]
    return f"{_made_on(run)}\n\n{_markdown(header, 'l' + 'r' * 11, rows)}"


def int8() -> str:
    """What came of taking every variant to INT8, and on which machine."""
    run: dict[str, Any] = json.loads(INT8.read_text(encoding="utf-8"))
    rows = []
    for row in run["rows"]:
        size, decibels = (
            row["megabytes"],
            [f"{row[form]['sqnr']:.0f}" for form in ("int8", "cpu", "strong")],
        )
        plan = f"{size['plan']:.1f}" if row["plan_error"] is None else "failed"
        sizes = [f"{size[form]:.1f}" for form in ("fp32", "int8")]
        share, left = f"{row['macs_in_int8']:.0%}", str(sum(row["float_layers"].values()))
        rows.append(
            [
                f"`{row['name']}`",
                str(row["size"]),
                f"{sum(row['cpu_seconds'].values()):.0f}",
                share,
                left,
                *sizes,
                plan,
                *decibels,
            ]
        )
    header = [
        "network",
        "size",
        "CPU s",
        "MACs in int8",
        "float layers",
        "fp32 MB",
        "int8 MB",
        "plan MB",
        "int8 dB",
        "CPU form dB",
        "strong form dB",
    ]
    return f"{_made_on(run)}\n\n{_markdown(header, 'l' + 'r' * 10, rows)}"


def _made_on(run: Mapping[str, Any]) -> str:
    environment = run["environment"]
    packages = environment["packages"]
    versions = ", ".join(
        f"{name} {packages[name]}"
        for name in ("torch", "onnx", "onnxsim", "onnxruntime", "tensorrt-rtx")
        if name in packages
    )
    machine = (
        f"{environment['cpu']['model']} ({environment['cpu']['cores']} cores), Python "
        f"{environment['python']}, {versions}"
    )
    return f"Machine: {machine}. Plans are for {run['capability']}."


def _families() -> list[tuple[str, list[Variant]]]:
    """Titles and their variants, in catalogue order."""
    return [(title, list(members)) for title, members in groupby(variants().values(), _title)]


def _title(variant: Variant) -> str:
    """That of the longest prefix."""
    return FAMILIES[
        max((prefix for prefix in FAMILIES if variant.name.startswith(prefix)), key=len)
    ]


def _papers(members: Iterable[Variant]) -> str:
    return ", ".join(
        f"[{paper}]({_address(paper)})" for paper in dict.fromkeys(v.paper for v in members)
    )


def _address(paper: str) -> str:
    kind, _, number = paper.partition(":")
    return {"arXiv": "https://arxiv.org/abs/", "doi": "https://doi.org/"}[kind] + number


def _macs(members: Sequence[Variant]) -> str:
    counts = [v.macs for v in members]
    if max(counts) < 1e9:
        return _range(
            [count / 1e6 for count in counts], ".1f" if max(counts) < 10e6 else ".0f", " M"
        )
    return _range([count / 1e9 for count in counts], ".1f", " G")


def _range(values: Sequence[float], spec: str, unit: str) -> str:
    if not values:
        return "–"
    ends = list(dict.fromkeys((format(min(values), spec), format(max(values), spec))))
    return "–".join(ends) + unit


def _markdown(header: Sequence[str], align: str, rows: Sequence[Sequence[str]]) -> str:
    ruler = ["---:" if side == "r" else "---" for side in align]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (header, ruler, *rows))


if __name__ == "__main__":
    for path, text in rendered().items():
        path.write_text(text, encoding="utf-8")
