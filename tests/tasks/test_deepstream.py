"""The configuration of DeepStream's Gst-nvinfer: the order of the sides, the scale, the offsets."""

from __future__ import annotations

import configparser
from pathlib import Path

import numpy as np
import pytest

from edgekit.artifact import TensorSpec
from edgekit.bundle import Bundle
from edgekit.bundle.manifest import InputEntry
from edgekit.errors import InputError
from edgekit.images import InputSpec
from edgekit.tasks.pack.deepstream import config, scaling


def test_deepstream_reads_the_sides_of_both_layouts_in_one_order(lenet: Path) -> None:
    """Gst-nvinfer itself changes C;H;W to H;W;C for a network of the order NHWC."""
    for dims, order in (((1, 28, 20), "0"), ((28, 20, 1), "1")):
        read = configparser.ConfigParser()
        read.read_string(config(Bundle.open(lenet), 1, 1.0, (), dims))
        told = read["property"]
        assert (told["infer-dims"], told["network-input-order"]) == ("1;28;20", order)


def entry(spec: InputSpec, dtype: str = "float32") -> InputEntry:
    return InputEntry.of(TensorSpec("x", spec.shape(1), dtype), spec)


def test_one_scale_is_given_where_one_is_enough() -> None:
    spec = InputSpec(mean=(0.5, 0.25, 0.5), std=(0.5, 0.5, 0.5))
    factor, offsets = scaling(entry(spec))
    pixels = np.arange(256)[:, None]
    expected = (pixels / 255 - np.array(spec.mean)) / np.array(spec.std)
    np.testing.assert_allclose(factor * (pixels - np.array(offsets)), expected, atol=1e-9)


def test_several_scales_are_refused() -> None:
    with pytest.raises(InputError, match="one scale for all channels") as caught:
        scaling(entry(InputSpec()))
    assert "`input` uint8" in str(caught.value.hint)
