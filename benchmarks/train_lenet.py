"""Trains LeNet-5 on Fashion-MNIST and writes models/lenet5.safetensors, the weights in the package.

    apt-get download dataset-fashion-mnist && dpkg-deb -x dataset-fashion-mnist_*.deb fashion
    python benchmarks/train_lenet.py fashion/usr/share/datasets/fashion-mnist [--validate]

Data: Xiao, Rasul, Vollgraf, "Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning
Algorithms", 2017, arXiv:1708.07747 (licence: MIT); 60,000 training images and 10,000 test images of
28 × 28 pixels in ten classes, as the Debian package carries them. ``--validate`` trains without the
last 10,000 training images, tests on them, and writes nothing. The settings below were chosen this
way, without the test images. A full run uses the test images once, after the last step. It also
writes tests/zoo/fashion_mnist.png and .txt, the first test images with their labels.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import math
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from common import write_result
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

from edgekit.models import Transform, create_model, variants

EPOCHS, BATCH, SEED = 40, 128, 0
PEAK_RATE, WEIGHT_DECAY, LABEL_SMOOTHING, WARM_UP = 4e-3, 1e-3, 0.05, 0.1
SHIFT = 1  # pixels
HELD_BACK = 10_000
SHEET = (16, 16)  # rows and columns of the sample for the tests

ROOT = Path(__file__).resolve().parents[1]
WEIGHTS = ROOT / "models" / "lenet5.safetensors"
SAMPLE = ROOT / "tests" / "zoo" / "fashion_mnist.png"


def read_idx(path: Path) -> NDArray[np.uint8]:
    """An array in the format of MNIST's files: two zero bytes, the type (8 is unsigned byte), the
    rank, then the big-endian dimensions.
    """
    data = gzip.decompress(path.read_bytes())
    if data[:3] != b"\0\0\x08":
        raise ValueError(f"{path} does not hold unsigned bytes in the idx format")
    shape = np.frombuffer(data, ">u4", data[3], 4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * data[3]).reshape(shape)


def as_tensors(
    images: NDArray[np.uint8], labels: NDArray[np.uint8], transform: Transform
) -> tuple[Tensor, Tensor]:
    pixels = torch.from_numpy(images.copy()).float().unsqueeze(1) / 255
    return (pixels - transform.mean[0]) / transform.std[0], torch.from_numpy(labels.copy()).long()


def augment(images: Tensor, background: float, generator: torch.Generator) -> Tensor:
    """Mirrors half of the images and moves each by up to ``SHIFT`` pixels."""
    mirrored = torch.rand(len(images), 1, 1, 1, generator=generator) < 0.5
    images = torch.where(mirrored, images.flip(3), images)
    side = images.shape[2]
    padded = F.pad(images, (SHIFT,) * 4, value=background)
    offsets = torch.randint(0, 2 * SHIFT + 1, (2, len(images), 1, 1), generator=generator)
    span = torch.arange(side)
    rows, columns = offsets[0] + span.view(1, side, 1), offsets[1] + span.view(1, 1, side)
    return padded[torch.arange(len(images)).view(-1, 1, 1), 0, rows, columns].unsqueeze(1)


def train(images: Tensor, labels: Tensor, transform: Transform) -> nn.Module:
    """AdamW with a linear warm-up and a cosine to zero."""
    torch.manual_seed(SEED)
    generator = torch.Generator().manual_seed(SEED)
    model = create_model("lenet5")
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK_RATE, weight_decay=WEIGHT_DECAY)
    steps = EPOCHS * (len(images) // BATCH)
    warm = WARM_UP * steps
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda i: (
            i / warm if i < warm else 0.5 * (1 + math.cos(math.pi * (i - warm) / (steps - warm)))
        ),
    )
    background = -transform.mean[0] / transform.std[0]
    for epoch in range(EPOCHS):
        total = 0.0
        for chunk in torch.randperm(len(images), generator=generator).split(BATCH)[
            : len(images) // BATCH
        ]:
            logits = model(augment(images[chunk], background, generator))
            loss = F.cross_entropy(logits, labels[chunk], label_smoothing=LABEL_SMOOTHING)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            total += loss.item()
        print(f"epoch {epoch + 1:3}  loss {total / (len(images) // BATCH):.4f}", flush=True)
    return model.eval()


@torch.inference_mode()
def accuracy(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    return int((model(images).argmax(1) == labels).sum()) / len(labels)


def write_sample(images: NDArray[np.uint8], labels: NDArray[np.uint8]) -> None:
    """Writes the first test images as one sheet, row by row, and their labels as digits, one line
    per row.
    """
    rows, columns = SHEET
    count, side = rows * columns, images.shape[1]
    sheet = (
        images[:count]
        .reshape(rows, columns, side, side)
        .transpose(0, 2, 1, 3)
        .reshape(rows * side, columns * side)
    )
    Image.fromarray(sheet).save(SAMPLE, optimize=True)
    lines = ["".join(map(str, row)) for row in labels[:count].reshape(rows, columns)]
    SAMPLE.with_suffix(".txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="where the four .gz files are")
    parser.add_argument(
        "--validate", action="store_true", help="hold training images back and report on them"
    )
    asked = parser.parse_args()
    torch.set_num_threads(1)
    transform = variants()["lenet5"].transform
    images, labels = (
        read_idx(asked.folder / f"train-{kind}-ubyte.gz") for kind in ("images-idx3", "labels-idx1")
    )
    if asked.validate:
        x, y = as_tensors(images, labels, transform)
        model = train(x[:-HELD_BACK], y[:-HELD_BACK], transform)
        print(
            f"accuracy on {HELD_BACK:,} training images held back: "
            f"{accuracy(model, x[-HELD_BACK:], y[-HELD_BACK:]):.4f}"
        )
        return
    started = time.process_time()
    model = train(*as_tensors(images, labels, transform), transform)
    seconds = time.process_time() - started
    test_images, test_labels = (
        read_idx(asked.folder / f"t10k-{kind}-ubyte.gz") for kind in ("images-idx3", "labels-idx1")
    )
    measured = accuracy(model, *as_tensors(test_images, test_labels, transform))
    save_file({key: value.contiguous() for key, value in model.state_dict().items()}, WEIGHTS)
    write_sample(test_images, test_labels)
    result = {
        "network": "lenet5",
        "dataset": "Fashion-MNIST",
        "test_images": len(test_labels),
        "test_accuracy": measured,
        "seed": SEED,
        "epochs": EPOCHS,
        "batch": BATCH,
        "cpu_seconds": round(seconds, 1),
        "file": WEIGHTS.name,
        "sha256": hashlib.sha256(WEIGHTS.read_bytes()).hexdigest(),
    }
    print(write_result("train_lenet", result))
    print(
        f"test accuracy {measured:.4f} after {seconds:.0f} s of CPU time; sha256 {result['sha256']}"
    )


if __name__ == "__main__":
    main()
