"""Quantization-aware training of the INT8 network of a run. Fake quantization is at the places of
Q/DQ in the exported graph. The targets are the outputs of the float network and the labels.

Sources: Jacob et al., CVPR 2018, arXiv:1712.05877; Esser et al., ICLR 2020, arXiv:1902.08153;
Hinton et al., "Distilling the Knowledge in a Neural Network", arXiv:1503.02531.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from math import cos, pi
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from edgekit.artifact import sha256_of
from edgekit.errors import GateFailed, InputError
from edgekit.pipeline.calibration import open_calibration
from edgekit.pipeline.converted import Context
from edgekit.pipeline.photos import load_images
from edgekit.pipeline.steps import fp32
from edgekit.quantization.config import QuantizeConfig, Trained
from edgekit.quantization.execute import TorchGraph
from edgekit.quantization.fake import FakeQuantized
from edgekit.quantization.learn import Descent
from edgekit.quantization.pipeline import quantize
from edgekit.quantization.placement import Placement
from edgekit.quantization.twin import Grid
from edgekit.quantization.weights import Weights
from edgekit.sources import Network, NetworkRequest, open_network
from edgekit.sources.run import BEST, QAT, read_description, write_trained
from edgekit.training.augment import Augmentation
from edgekit.training.batches import (
    Decoder,
    Skipped,
    TrainingBatches,
    ValidationBatches,
    batches_of,
    counted,
)
from edgekit.training.checkpoint import write
from edgekit.training.config import TrainConfig
from edgekit.training.data import TrainingData, data_of_run
from edgekit.training.depthwise import SmallDepthwise
from edgekit.training.memory import freed_memory_kept
from edgekit.training.processes import stream
from edgekit.training.records import Qat, QatEpoch, Watcher
from edgekit.training.run import config_of

WARM_UP = 0.1  # share of the steps
LOG_EVERY = 20  # steps
LABELS = 0.5  # weight of the labels, next to the float network


def train_quantized(
    folder: Path,
    *,
    epochs: int,
    batch: int,
    learning_rate: float,
    watcher: Watcher | None = None,
) -> Qat:
    """Trains the INT8 network of a run. The best state is saved in the run, for the export.

    Args:
        folder: of the run, with weights.
        epochs: passes over the training images.
        batch: images per step.
        learning_rate: a factor on the rates of codes, steps and biases.
        watcher: called with the losses.

    Raises:
        InputError: the folder is not a run, its images are missing, or no layer can be INT8.
        GateFailed: the loss became NaN or infinite.
    """
    started = time.perf_counter()
    description = read_description(folder)
    network = replace(open_network(NetworkRequest(str(folder))), trained=None)
    if network.photos is None or network.module is None:
        raise InputError(f"the images of {folder} are missing", hint="restore them")
    config = replace(
        config_of(description), epochs=epochs, batch=batch, mixup=0.0, cutmix=0.0, progressive=None
    )
    data = data_of_run(folder, description.classes, folder)
    tuner = _Tuner(network, data, config, learning_rate, watcher)
    images = load_images(None, network)
    calibration = open_calibration(None, network.input, images.folder, own=network.photos)
    with freed_memory_kept(), tempfile.TemporaryDirectory(prefix="edgekit-") as scratch:
        context = Context(network, images.pixels, Path(scratch), calibration)
        setting = QuantizeConfig(
            calibrator="mse",
            rounding="nearest",
            equalize=False,
            spare=False,
            fallback=False,
            sensitivity=False,
            tune=tuner,
        )
        found = quantize(
            fp32.simplified(1, context),
            context.folder / "int8.onnx",
            setting,
            calibration,
            calibration.choosing_images,
        )
    assert tuner.trained and tuner.best and found.report.twin
    content = write_trained(tuner.trained, sha256_of(folder / BEST), tuner.lines())
    write(folder / QAT, content)
    return Qat(
        folder,
        description.builder,
        len(tuner.data.train),
        tuner.float_top1,
        tuner.epochs[0].validation_top1,
        tuner.best.validation_top1,
        tuner.best.epoch,
        tuple(tuner.epochs),
        found.report.twin.sqnr,
        dict(tuner.skipped.files),
        time.perf_counter() - started,
    )


class _Tuner:
    """The training that the quantizer calls instead of learning from crops."""

    def __init__(
        self,
        network: Network,
        data: TrainingData,
        config: TrainConfig,
        learning_rate: float,
        watcher: Watcher | None,
    ) -> None:
        assert network.module is not None
        self.teacher: nn.Module = network.module.eval()
        self.spec, self.data, self.config = network.input, data, config
        self.learning_rate, self.watcher = learning_rate, watcher
        self.skipped = Skipped(
            data.train.root, len(data.train) + len(data.validation), config.corrupt
        )
        self.epochs: list[QatEpoch] = []
        self.float_top1 = 0.0
        self.best: QatEpoch | None = None
        self.trained: Trained | None = None
        self._validation = ValidationBatches(data.validation, self.spec, config.batch)
        self._decoder = Decoder(self.spec)

    def __call__(
        self,
        network: TorchGraph,
        placement: Placement,
        grids: Mapping[str, Grid],
        weights: Weights,
        widest: Mapping[str, float],
        held_out: Sequence[NDArray[np.float32]],
        reference: NDArray[np.float32],
    ) -> Trained:
        if not network.differentiable:
            raise InputError("an operator of the network has no gradient", hint="use FP16")
        student = FakeQuantized(
            network, placement, grids, weights, widest, held_out[0], with_codes=True
        )
        descent = Descent([(p, rate * self.learning_rate) for p, rate in student.parameters()])
        self.float_top1 = self._top1(self.teacher)
        self.epochs.append(QatEpoch(0, None, self._top1(student.logits), 0.0))
        self.best, self.trained = self.epochs[0], Trained(grids, weights)
        total = self.config.epochs * batches_of(len(self.data.train), self.config.batch)
        for epoch in range(self.config.epochs):
            started = time.perf_counter()
            loss = self._epoch(epoch, student, descent, total)
            top1 = self._top1(student.logits)
            self.epochs.append(QatEpoch(epoch + 1, loss, top1, time.perf_counter() - started))
            if top1 >= self.best.validation_top1:
                self.best, self.trained = self.epochs[-1], Trained(*student.taken())
        return self.trained

    def _epoch(self, epoch: int, student: FakeQuantized, descent: Descent, total: int) -> float:
        stage = self.config.stages((self.spec.height, self.spec.width))[0]
        source = TrainingBatches(
            self.data.train,
            self.spec,
            Augmentation(self.config, stage, len(self.data.classes), self.spec.resize),
            self._decoder,
            self.config.batch,
            self.config.seed,
            epoch,
        )
        losses: list[float] = []
        for place, batch in enumerate(stream(source, self.config.workers, self.spec), 1):
            self.skipped.add(batch.skipped)
            if not len(batch.images):
                continue
            with SmallDepthwise():
                logits = student.logits(batch.images)
            loss = self._loss(logits, batch.images, batch.targets)
            losses.append(float(loss.detach()))
            if not np.isfinite(losses[-1]):
                raise GateFailed(
                    f"the loss is {losses[-1]:g} at step {place} (epoch {epoch + 1}); nothing was "
                    "written",
                    hint="lower `learning_rate`",
                )
            loss.backward()  # type: ignore[no-untyped-call]
            done = epoch * len(source) + place
            rising = min(1.0, done / max(1.0, WARM_UP * total))
            descent.move(rising * (1 + cos(pi * done / total)) / 2)
            student.bound()
            if self.watcher is not None and (place % LOG_EVERY == 0 or place == len(source)):
                self.watcher.stepped(epoch, place, len(source), losses[-1])
        return float(np.mean(losses)) if losses else 0.0

    def _loss(self, logits: Tensor, images: Tensor, labels: Tensor) -> Tensor:
        """The loss against the probabilities of the float network, plus a share of the loss against
        the labels.
        """
        with torch.no_grad():
            wanted = self.teacher(images).log_softmax(1)
        distance = F.kl_div(logits.log_softmax(1), wanted, reduction="batchmean", log_target=True)
        return distance + LABELS * F.cross_entropy(logits, labels)

    def _top1(self, run: Callable[[Tensor], Tensor]) -> float:
        right = count = 0
        with torch.no_grad():
            batches = stream(self._validation, self.config.workers, self.spec)
            for batch in counted(batches, self.skipped.add):
                right += int((run(batch.images).argmax(1) == batch.targets).sum())
                count += len(batch.targets)
        if not count:
            raise GateFailed("no validation image can be read")
        return right / count

    def lines(self) -> list[dict[str, object]]:
        """The epochs, for the record of the run."""
        return [asdict(epoch) for epoch in self.epochs]
