"""Measures how long it takes to create an untrained network, as a multiple of torchvision's time.

    python benchmarks/create_model.py [--seconds 2]

Both run in one process, in turns, with one network of each family and the initialisation of each
library. Times are CPU time of one thread. Goal: no interval of a ratio is above 1.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from typing import Any

import torch
from common import write_result
from zoo_export import torchvision_builder

from edgekit.latency.clock import measure
from edgekit.models import create_model, variants
from edgekit.reports.plain import plain

NETWORKS = (
    *(
        "alexnet",
        "vgg11",
        "googlenet",
        "resnet18",
        "resnet50",
        "wide_resnet50_2",
        "resnext50_32x4d",
        "mobilenetv2",
    ),
    *(
        "mobilenetv3_small",
        "mobilenetv3_large",
        "shufflenetv2_x1_0",
        "efficientnet_b0",
        "efficientnetv2_s",
    ),
)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=2.0, help="how long each side is measured")
    seconds = parser.parse_args().seconds
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    rows: dict[str, Any] = {}
    for name in NETWORKS:
        build = torchvision_builder(variants()[name])
        assert build is not None
        candidates: dict[str, Callable[[int], object]] = {
            "edgekit": lambda _, name=name: create_model(name),
            "torchvision": lambda _, build=build: build(),
        }
        found = measure(
            candidates,
            reference="torchvision",
            seconds=seconds,
            max_warm_up=1.0,
            clock=time.process_time_ns,
        )
        ratio = found.ratio("edgekit")
        medians = {side: timing.summary.median for side, timing in found.timings.items()}
        rows[name] = {
            "milliseconds": medians,
            "ratio": plain(ratio),
            "noise_floor": plain(found.noise_floor),
        }
        verdict = "slower" if ratio.slower else "faster" if ratio.faster else "no difference"
        print(
            f"{name:<20}{medians['edgekit']:8.1f} ms{medians['torchvision']:9.1f} ms  "
            f"{ratio.value:.2f} [{ratio.low:.2f}, {ratio.high:.2f}] {verdict}"
        )
    print(
        write_result(
            "create_model",
            {
                "what": "edgekit.models.create_model / torchvision.models.get_model, untrained",
                "rows": rows,
            },
        )
    )


if __name__ == "__main__":
    main()
