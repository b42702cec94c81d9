"""The training loop. Each step depends only on the state before it and on its number."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from edgekit.errors import EnvironmentLacks, GateFailed, out_of_memory
from edgekit.images import InputSpec
from edgekit.training.augment import Augmentation
from edgekit.training.batches import (
    FEWEST,
    Batch,
    Decoder,
    Skipped,
    TrainingBatches,
    ValidationBatches,
    batches_of,
    counted,
    seed_of,
)
from edgekit.training.config import Stage, TrainConfig
from edgekit.training.data import TrainingData
from edgekit.training.depthwise import SmallDepthwise
from edgekit.training.optimizer import make_optimizer, restore_optimizer
from edgekit.training.processes import stream
from edgekit.training.records import Epoch, Watcher
from edgekit.training.transfer import Frozen, set_dropout

if TYPE_CHECKING:
    from lightning_fabric import Fabric

EMA_EVERY = 8  # steps; fewer if the run has less than EMA_UPDATES times as many
EMA_UPDATES = 100
EMA_SHARE = 0.1  # share of the run that the average covers
LOG_EVERY = 20  # steps between two reads of the losses, which wait for the GPU


class Loop:
    """A network in training.

    Args:
        fabric: devices, numbers and processes.
        module: the network.
        spec: its input.
        data: the images.
        config: how to train.
        pretrained: whether the network starts from trained weights.
    """

    def __init__(
        self,
        fabric: Fabric,
        module: nn.Module,
        spec: InputSpec,
        data: TrainingData,
        config: TrainConfig,
        *,
        pretrained: bool,
    ) -> None:
        self.fabric, self.module, self.spec = fabric, module, spec
        self.data, self.config = data, config
        self.frozen = Frozen(module, config)
        self._rate = config.rate(pretrained)
        model: Any
        optimizer: Any
        model, optimizer = fabric.setup(
            module, make_optimizer(module, self._rate, config.weight_decay)
        )
        self.model, self.optimizer = model, optimizer
        self.batches = batches_of(len(data.train), config.batch)
        self.steps_per_epoch = -(-self.batches // config.accumulate)
        self.total = self.steps_per_epoch * config.epochs
        self._ema_every = max(1, min(EMA_EVERY, self.total // EMA_UPDATES))
        self.schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, self._share)
        self.ema = self._averaged()
        self.criterion = nn.CrossEntropyLoss(label_smoothing=config.label_smoothing)
        self.stages = config.stages((spec.height, spec.width))
        self.decoder = Decoder(spec)
        self.skipped = Skipped(
            data.train.root,
            len(data.train) + len(data.validation),
            config.corrupt,
            shared=fabric.world_size > 1,
        )
        self._validation = ValidationBatches(
            data.validation,
            spec,
            config.batch,
            rank=fabric.global_rank,
            world=fabric.world_size,
        )
        self.epoch, self.batch, self.step = 0, 0, 0
        self._losses: list[tuple[int, Tensor]] = []
        self._sum, self._count, self._images, self._seconds = 0.0, 0, 0, 0.0

    @property
    def kept(self) -> nn.Module:
        """The network with the weights for validation and export."""
        is_averaged = self.ema is not None and int(self.ema.n_averaged) > 0
        return self.ema.module if is_averaged else self.module  # type: ignore[union-attr]

    def _averaged(self) -> AveragedModel | None:
        if not self.config.ema:
            return None
        updates = self.total / self._ema_every
        decay = min(0.9995, max(0.5, 1 - 1 / max(2.0, EMA_SHARE * updates)))
        average = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
        return AveragedModel(self.module, multi_avg_fn=average, use_buffers=True)

    def _share(self, step: int) -> float:
        """The factor of the learning rate: warm-up, then half a cosine to zero."""
        warm = max(1, round(self.config.warm_up * self.total)) if self.config.warm_up else 0
        if step < warm:
            return (step + 1) / warm
        return (1 + math.cos(math.pi * (step - warm) / max(1, self.total - warm))) / 2

    def stage(self) -> Stage:
        return next(stage for stage in reversed(self.stages) if stage.start <= self.epoch)

    def train_epoch(self, watcher: Watcher | None) -> Iterator[list[dict[str, Any]]]:
        """Trains until the end of the epoch. Yields lines for the log when losses were read; the
        state can be saved then.

        Raises:
            GateFailed: a loss is not finite.
            InputError: too many images cannot be read.
            EnvironmentLacks: there is too little memory for the batch.
        """
        stage = self.stage()
        if stage.dropout is not None:
            set_dropout(self.module, stage.dropout)
        source = TrainingBatches(
            self.data.train,
            self.spec,
            Augmentation(self.config, stage, len(self.data.classes), self.spec.resize),
            self.decoder,
            self.config.batch,
            self.config.seed,
            self.epoch,
            self.batch,
            self.fabric.global_rank,
            self.fabric.world_size,
        )
        self.frozen.train()
        started = time.perf_counter()
        for batch in stream(source, self.config.workers, self.spec):
            self.skipped.add(batch.skipped)
            self._train(batch)
            whole = self.batch % self.config.accumulate == 0 or self.batch == self.batches
            if whole and (len(self._losses) >= LOG_EVERY or self.batch == self.batches):
                self._seconds += time.perf_counter() - started
                lines = self._look()
                if watcher is not None and lines:
                    watcher.stepped(self.epoch, self.batch, self.batches, lines[-1]["loss"])
                yield lines
                started = time.perf_counter()

    def _train(self, batch: Batch) -> None:
        self.batch += 1
        last = self.batch % self.config.accumulate == 0 or self.batch == self.batches
        if len(batch.images) >= FEWEST:
            try:
                self._backward(batch.to(self.fabric.device), synchronized=last)
            except (RuntimeError, MemoryError) as error:
                if isinstance(error, torch.OutOfMemoryError) or out_of_memory(error):
                    raise self._lacks_memory() from error
                raise
        if last:
            self._move()

    def _backward(self, batch: Batch, *, synchronized: bool) -> None:
        torch.manual_seed(
            seed_of(self.config.seed, self.epoch, self.batch, self.fabric.global_rank, 1)
        )
        with self.fabric.no_backward_sync(self.model, enabled=not synchronized):
            with SmallDepthwise():
                outputs = self.model(batch.images)
            loss = self._loss(outputs, batch.targets)
            self.fabric.backward(loss / self._accumulated())
        self._losses.append((self.step + 1, loss.detach()))
        self._images += len(batch.images)

    def _accumulated(self) -> int:
        """The batches of the current step: fewer in the last step of an epoch."""
        most = self.config.accumulate
        return min(most, self.batches - (self.batch - 1) // most * most)

    def _loss(self, outputs: Tensor | Sequence[Tensor], targets: Tensor) -> Tensor:
        """The loss of the classifier, plus a share of the loss of each auxiliary classifier."""
        if isinstance(outputs, Tensor):
            return self.criterion(outputs, targets)  # type: ignore[no-any-return]
        main, *auxiliary = outputs
        loss: Tensor = self.criterion(main, targets)
        for other in auxiliary:
            loss = loss + self.config.auxiliary * self.criterion(other, targets)
        return loss

    def _move(self) -> None:
        if self.config.clip:
            self.fabric.clip_gradients(
                self.model, self.optimizer, max_norm=self.config.clip, error_if_nonfinite=False
            )
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.schedule.step()
        self.step += 1
        if self.ema is not None and self.step % self._ema_every == 0:
            self.ema.update_parameters(self.module)

    def _look(self) -> list[dict[str, Any]]:
        """Reads the losses since the last read, as means over all processes.

        Raises:
            GateFailed: one is not finite.
            InputError: too many images cannot be read.
        """
        self._check_skipped()
        if not self._losses:
            return []
        losses = torch.stack([loss for _, loss in self._losses])
        if self.fabric.world_size > 1:
            losses = cast(Tensor, self.fabric.all_reduce(losses, reduce_op="mean"))
        values = losses.tolist()
        lines = []
        for (step, _), loss in zip(self._losses, values, strict=True):
            if not math.isfinite(loss):
                raise GateFailed(
                    f"the loss is {loss:g} at step {step} (epoch {self.epoch + 1}); training "
                    "stopped, and the last good checkpoint stays",
                    hint="lower `learning_rate`, or check the images and the weights",
                )
            lines.append({"epoch": self.epoch, "step": step, "loss": loss})
        self._sum += math.fsum(values)
        self._count = self._count + len(values)
        self._losses.clear()
        return lines

    def _check_skipped(self) -> None:
        """Checks the limit of all processes together, in all of them at the same step. Each epoch
        shares the images anew, so several processes may meet the same file.
        """
        if self.fabric.world_size > 1:
            found: list[Any] = [None] * self.fabric.world_size
            torch.distributed.all_gather_object(found, self.skipped.files)
            for files in found:
                self.skipped.files.update(files)
            self.skipped.check()

    def validate(self) -> Epoch:
        """Ends the epoch: runs the network with the weights for export on the validation images."""
        started = time.perf_counter()
        kept = self.kept.eval()
        if self.fabric.world_size > 1:  # the statistics of batch norms differ between processes
            for buffer in kept.buffers():
                torch.distributed.broadcast(buffer, 0)
        criterion = nn.CrossEntropyLoss(reduction="sum")
        totals = torch.zeros(3, dtype=torch.float64)
        with torch.inference_mode(), self.fabric.autocast():
            batches = stream(self._validation, self.config.workers, self.spec)
            for given in counted(batches, self.skipped.add):
                batch = given.to(self.fabric.device)
                logits = kept(batch.images).float()
                found = torch.stack(
                    (
                        criterion(logits, batch.targets).double(),
                        (logits.argmax(1) == batch.targets).sum().double(),
                    )
                )
                totals += torch.cat((found.cpu(), torch.tensor([float(len(batch.targets))])))
        if self.fabric.world_size > 1:
            totals = cast(Tensor, self.fabric.all_reduce(totals, reduce_op="sum"))
            self._check_skipped()
        loss, right, count = totals.tolist()
        if not count:
            raise GateFailed("no validation image can be read")
        seconds = self._seconds + time.perf_counter() - started
        epoch = Epoch(
            self.epoch,
            self.step,
            self.stage().size[0],
            float(self.optimizer.param_groups[0]["lr"]),
            self._sum / max(1, self._count),
            loss / count,
            right / count,
            self._images * self.fabric.world_size,
            seconds,
            len(self.skipped.files),
        )
        self.epoch, self.batch = self.epoch + 1, 0
        self._sum, self._count, self._images, self._seconds = 0.0, 0, 0, 0.0
        return epoch

    def state(self) -> dict[str, Any]:
        """Everything that the next step depends on."""
        return {
            "module": self.module.state_dict(),
            "ema": None if self.ema is None else self.ema.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "place": {"epoch": self.epoch, "batch": self.batch, "step": self.step},
            "epoch": {
                "sum": self._sum,
                "count": self._count,
                "images": self._images,
                "seconds": self._seconds,
            },
            "skipped": dict(self.skipped.files),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continues from a :meth:`state`."""
        self.module.load_state_dict(state["module"])
        if self.ema is not None:
            self.ema.load_state_dict(state["ema"])
        restore_optimizer(self.optimizer.optimizer, state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.epoch, self.batch, self.step = (
            state["place"][name] for name in ("epoch", "batch", "step")
        )
        self._sum, self._count, self._images, self._seconds = (
            state["epoch"][name] for name in ("sum", "count", "images", "seconds")
        )
        self.skipped.files = dict(state["skipped"])

    def _lacks_memory(self) -> EnvironmentLacks:
        batch, accumulate = self.config.batch, self.config.accumulate
        return EnvironmentLacks(
            f"there is not enough memory for batches of {batch} images of "
            f"{self.stage().size[0]} pixels",
            hint=f"`batch` {max(2, batch // 2)} with `accumulate` {accumulate * 2} trains the "
            "same with half of it",
        )
