"""Measures the gain of rounding FP16 weights so that channels keep their means, compared with
rounding to nearest.

    python benchmarks/fp16_rounding.py [PHOTOS]

Both graphs run as their rounding twins, on other photos than those that gave the means: the bundled
photos are split in two, or PHOTOS is a folder of other photos (`python -m edgekit.calib.make_photos
--evaluation DIR` makes one).
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from common import write_result

from edgekit.calib import photos
from edgekit.comparison import Parity, compare
from edgekit.graph.forms.fp16 import Fp16Config, rounding_twin, to_fp16
from edgekit.graph.observe import Observation, observe
from edgekit.graph.simplification.simplify import SimplifyConfig, simplify
from edgekit.graph.trace import TraceConfig, trace
from edgekit.images import ImageFolder, PreparedImages
from edgekit.runtimes.base import SessionOptions, run_batches
from edgekit.runtimes.onnxruntime import OnnxRuntime
from edgekit.sources import NetworkRequest, open_network

NETWORKS = ("mobilenetv2", "efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2")


def main() -> None:
    others = (
        list(ImageFolder.open(Path(sys.argv[1])).paths) if len(sys.argv) > 1 else photos()[1::2]
    )
    observed = photos() if len(sys.argv) > 1 else photos()[::2]
    rows = {}
    for name in NETWORKS:
        nearest, keeping = compare_roundings(name, observed, others)
        rows[name] = {
            "nearest": nearest,
            "keeping_means": keeping,
            "gain_db": keeping.sqnr - nearest.sqnr,
        }
        print(
            f"{name:<20} nearest {nearest.sqnr:.1f} dB  keeping means {keeping.sqnr:.1f} dB  "
            f"agreement {nearest.top1:.3f} {keeping.top1:.3f}"
        )
    print(
        write_result(
            "fp16_rounding",
            {
                "what": __doc__,
                "observed": len(observed),
                "evaluated": len(others),
                "networks": rows,
            },
        )
    )


def compare_roundings(name: str, observed: list[Path], others: list[Path]) -> tuple[Parity, Parity]:
    network = open_network(NetworkRequest(name))
    assert network.module is not None
    seen_images, images = (
        PreparedImages(paths, network.input).stack() for paths in (observed, others)
    )
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        traced = trace(network.module, root / "traced.onnx", TraceConfig(images.shape[1:]))
        graph, _ = simplify(traced, root / "graph.onnx", SimplifyConfig(), images[:2])
        with OnnxRuntime().load(graph, SessionOptions()) as session:
            reference = run_batches(session, images)
        seen = observe(graph, seen_images)
        results = []
        for observation in (replace(seen, means={}), seen):
            results.append(compare(reference, _outputs(graph, observation, root, images)))
    return results[0], results[1]


def _outputs(graph, observation: Observation, root: Path, images):  # type: ignore[no-untyped-def]
    half = to_fp16(graph, root / "half.onnx", Fp16Config(), observation)
    with OnnxRuntime().load(
        rounding_twin(half.artifact, root / "twin.onnx"), SessionOptions()
    ) as session:
        return run_batches(session, images)


if __name__ == "__main__":
    main()
