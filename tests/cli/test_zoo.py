"""``edgekit zoo`` and ``edgekit zoo show``: what they print, their json, and what they need."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable

import pytest

from edgekit.models import variants
from edgekit.models.pretrained.weights import WEIGHTS

KEYS = [
    *("name", "aliases", "family", "paper", "parameters", "macs", "size", "channels", "classes"),
    *("top1", "top5", "dataset", "weights", "licence"),
]

RESNET18 = """\
resnet18  arXiv:1512.03385
weights: torchvision:ResNet18_Weights.IMAGENET1K_V1 (BSD-3-Clause)
top-1: 69.76 % on ImageNet-1k, as published with them

stage               kind                                          output       params         MACs
stem                Conv2d + BatchNorm2d + ReLU               64×112×112        9,536     118.01 M
maxpool             MaxPool2d                                   64×56×56            0       0.00 M
layer1              2 × BasicBlock                              64×56×56      147,968     462.42 M
layer2              2 × BasicBlock                             128×28×28      525,568     411.04 M
layer3              2 × BasicBlock                             256×14×14    2,099,712     411.04 M
layer4              2 × BasicBlock                               512×7×7    8,393,728     411.04 M
fc                  Linear                                          1000      513,000       0.51 M
total                                                                      11,689,512   1,814.07 M
"""


def test_the_list_is_aligned_and_fits_100_columns(
    edgekit: Callable[..., tuple[int, str, str]],
) -> None:
    code, out, err = edgekit("zoo")
    lines = out.splitlines()
    assert (code, err) == (0, "")
    assert max(map(len, lines)) <= 100
    rows = {line.split()[0]: line for line in lines if line.startswith("  ")}
    assert list(rows) == list(variants())
    header = lines[0]
    for row in rows.values():
        assert row[header.index("params") + len("params") - 1] == "M"
        assert row[header.index("MACs") + len("MACs") - 1] == "M"
        assert row[header.index("size") + len("size") - 1].isdigit()
        assert row[header.index("weights") - 1] == " " != row[header.index("weights")]


def test_the_list_is_that_of_the_catalogue(
    edgekit: Callable[..., tuple[int, str, str]],
) -> None:
    _, out, _ = edgekit("zoo")
    rows = {line.split()[0]: line.split() for line in out.splitlines() if line.startswith("  ")}
    assert rows["resnet50"] == [
        "resnet50",
        "25.56",
        "M",
        "4,089",
        "M",
        "224",
        "76.13",
        "torchvision",
    ]
    assert rows["efficientnet_lite0"] == [
        "efficientnet_lite0",
        "4.65",
        "M",
        "385",
        "M",
        "224",
        "–",
        "package",
    ]
    assert rows["shufflenetv1_g2_025"][-2:] == ["–", "–"]
    assert rows["lenet5"][-2:] == [f"*{WEIGHTS['lenet5'].top1:.2f}", "edgekit"]
    assert "* lenet5: on Fashion-MNIST's test images, measured by this project" in out
    assert "resnet  arXiv:1512.03385, arXiv:1605.07146, arXiv:1611.05431\n" in out


def test_the_list_as_json(edgekit: Callable[..., tuple[int, str, str]]) -> None:
    code, out, err = edgekit("zoo", "--json")
    rows = json.loads(out)
    assert (code, err) == (0, "")
    assert [row["name"] for row in rows] == list(variants())
    assert all(list(row) == KEYS for row in rows)
    assert rows[[row["name"] for row in rows].index("mobilenetv2")] == {
        "name": "mobilenetv2",
        "aliases": ["mobilenetv2_100"],
        "family": "mobilenetv2",
        "paper": "arXiv:1801.04381",
        "parameters": 3504872,
        "macs": 300774272,
        "size": 224,
        "channels": 3,
        "classes": 1000,
        "top1": 71.878,
        "top5": 90.286,
        "dataset": "ImageNet-1k",
        "weights": "torchvision:MobileNet_V2_Weights.IMAGENET1K_V1",
        "licence": "BSD-3-Clause",
    }


def test_show_prints_the_stages(edgekit: Callable[..., tuple[int, str, str]]) -> None:
    code, out, err = edgekit("zoo", "show", "ResNet-18")
    assert (code, err) == (0, "")
    assert out == RESNET18


@pytest.mark.parametrize(
    "name",
    [
        "alexnet",
        "mobilenetv3_small_minimalistic",
        "efficientnet_b7",
        "shufflenetv1_g8_200",
        "googlenet_nobn",
    ],
)
def test_show_fits_100_columns(name: str, edgekit: Callable[..., tuple[int, str, str]]) -> None:
    _, out, _ = edgekit("zoo", "show", name)
    assert max(map(len, out.splitlines())) <= 100
    table = out.splitlines()[out.splitlines().index("") + 1 :]
    assert len({len(line) for line in table}) == 1
    assert table[-1].split()[:2] == ["total", f"{variants()[name].params:,}"]
    assert sum(int(line[72:85].replace(",", "")) for line in table[1:-1]) == variants()[name].params


def test_show_as_json(edgekit: Callable[..., tuple[int, str, str]]) -> None:
    code, out, err = edgekit("zoo", "show", "lenet", "--json")
    found = json.loads(out)
    assert (code, err) == (0, "")
    assert list(found) == [*KEYS, "transform", "stages"]
    assert list(found["transform"]) == ["size", "resize", "interpolation", "mean", "std"]
    assert found["stages"][0] == {
        "name": "features.0",
        "kind": "Conv2d",
        "shape": [6, 28, 28],
        "params": 156,
        "macs": 117600,
    }
    assert found["stages"][-1]["shape"] == [10]
    assert sum(stage["macs"] for stage in found["stages"]) == found["macs"]


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (("show", "resnet51"), "unknown network 'resnet51'", "did you mean resnet50"),
        (("show", "efficientnet-v2"), "unknown network 'efficientnet-v2'", "efficientnetv2_s"),
        (("show", "xyz"), "unknown network 'xyz'", "`edgekit zoo` lists them all"),
        (("resnet18",), "zoo: unknown action 'resnet18'", "`edgekit zoo show mobilenetv2`"),
        (("show",), "zoo show: no network given", "`edgekit zoo show mobilenetv2`"),
        (("show", "resnet18", "resnet50"), "unexpected extra argument", "--help"),
    ],
)
def test_wrong_use_is_told(
    arguments: tuple[str, ...],
    message: str,
    hint: str,
    edgekit: Callable[..., tuple[int, str, str]],
) -> None:
    code, out, err = edgekit("zoo", *arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert hint in err.partition("hint")[2]


def test_the_list_needs_no_torch() -> None:
    code = (
        "import sys; from edgekit.cli.app import execute; code = execute(['zoo']); "
        "sys.exit(code or 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "mobilenetv2" in done.stdout
