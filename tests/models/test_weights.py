"""The table of weights, against the metadata that torchvision, timm and pytorchcv ship."""

from __future__ import annotations

import csv
import importlib.metadata
import importlib.resources
import math
import re
import subprocess
import sys

import pytest

from edgekit.models import variants
from edgekit.models.pretrained.download import SHIPPED
from edgekit.models.pretrained.weights import WEIGHTS, Weights


def _of(project: str) -> list[tuple[str, Weights]]:
    return [
        (name, weights)
        for name, weights in WEIGHTS.items()
        if weights.source.startswith(f"{project}:")
    ]


def _identifier(weights: Weights) -> str:
    return weights.source.partition(":")[2]


def test_every_row_can_be_fetched_and_checked() -> None:
    assert len(WEIGHTS) == len({weights.file for weights in WEIGHTS.values()})
    for name, weights in WEIGHTS.items():
        assert weights.url or weights.packages or (SHIPPED / weights.file).is_file(), name
        assert weights.sha256 or weights.sha1, name
        assert re.fullmatch(r"([0-9a-f]{8,64})?", weights.sha256), name
        assert re.fullmatch(r"([0-9a-f]{40})?", weights.sha1), name
        assert all("==" in package.requirement for package in weights.packages), name
        assert len(weights.sha256) == 64 or not weights.packages, name


def test_rows_belong_to_variants_and_state_their_transform() -> None:
    """Where several trainings of one network differ in preprocessing, the row tells that of its own
    file.
    """
    others = {"mobilenetv2_050", "mobilenetv2_140", "efficientnet_lite3", "efficientnet_lite4"}
    catalog = variants()
    assert WEIGHTS.keys() <= catalog.keys()
    assert {
        name for name, weights in WEIGHTS.items() if weights.transform != catalog[name].transform
    } <= others


@pytest.mark.parametrize(("name", "weights"), _of("torchvision"))
def test_torchvision_rows_repeat_its_metadata(name: str, weights: Weights) -> None:
    import torchvision

    published = torchvision.models.get_weight(_identifier(weights))
    metrics = published.meta["_metrics"]["ImageNet-1K"]
    evaluation = published.transforms()
    assert weights.url == published.url
    assert weights.sha256.startswith(published.url.rpartition("-")[2].removesuffix(".pth"))
    assert (weights.top1, weights.top5) == (metrics["acc@1"], metrics["acc@5"])
    transform = weights.transform
    assert ([transform.size], [transform.resize]) == (evaluation.crop_size, evaluation.resize_size)
    assert transform.interpolation == evaluation.interpolation.value
    if (
        name == "googlenet"
    ):  # its network goes on with x · std / 0.5 + (mean − 0.5) / 0.5, and ours does not
        assert torchvision.models.googlenet(
            transform_input=True, init_weights=False
        ).transform_input
        assert set(transform.mean) == set(transform.std) == {0.5}
    else:
        assert (list(transform.mean), list(transform.std)) == (evaluation.mean, evaluation.std)


def test_every_torchvision_network_of_these_families_is_listed() -> None:
    import torchvision

    families = r"alexnet|vgg|googlenet|(wide_)?resne(x)?t|mobilenet_v|shufflenet|efficientnet"
    published = {
        str(torchvision.models.get_model_weights(name)["IMAGENET1K_V1"])
        for name in torchvision.models.list_models(torchvision.models)
        if re.match(families, name)
    }
    assert published == {_identifier(weights) for _, weights in _of("torchvision")}


@pytest.mark.parametrize(("name", "weights"), _of("timm"))
def test_timm_rows_repeat_its_metadata(name: str, weights: Weights) -> None:
    import timm

    published = timm.get_pretrained_cfg(_identifier(weights))
    size = (published.test_input_size or published.input_size)[-1]
    assert weights.url == published.url
    assert weights.sha256 == published.url.rpartition("-")[2].removesuffix(".pth")
    assert weights.licence.lower() == published.license
    transform = weights.transform
    assert (transform.size, transform.resize) == (size, math.floor(size / published.crop_pct))
    assert transform.interpolation == published.interpolation
    assert (transform.mean, transform.std) == (published.mean, published.std)


@pytest.mark.parametrize(("name", "weights"), _of("pytorchcv"))
def test_pytorchcv_rows_repeat_its_metadata(name: str, weights: Weights) -> None:
    table = importlib.resources.files("pytorchcv").joinpath("models/common/model_metainfos.csv")
    rows = {row["model_name"]: row for row in csv.DictReader(table.read_text().splitlines())}
    row = rows[_identifier(weights)]
    file = f"{_identifier(weights)}-{row['error_value']}-{row['checksum'][:8]}.pth"
    assert weights.sha1 == row["checksum"]
    assert (
        weights.url
        == f"https://github.com/osmr/imgclsmob/releases/download/{row['repo_release_tag']}/{file}.zip"
    )
    assert weights.file == file
    readme = str(importlib.metadata.metadata("pytorchcv").get_payload())
    stated = re.search(rf"\| ([0-9.]+) \| ([0-9.]+) \|.*/{re.escape(file)}\.log", readme)
    assert stated is not None
    assert (weights.top1, weights.top5) == pytest.approx(
        (100 - float(stated[1]), 100 - float(stated[2]))
    )


def test_the_table_reads_without_torch() -> None:
    code = (
        "import sys, edgekit.models.pretrained.weights, edgekit.models.pretrained.download; "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
