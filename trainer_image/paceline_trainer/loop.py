"""The training loop, exact whatever the number of processes and however the model is spread over them.

The loss of a step is the mean over the *global* batch. Replicas average their gradients, so each scales its part by their
number / global batch size: uneven shards then weigh as they should, and two processes give the losses of one.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.optim import SGD, AdamW, Optimizer
from torch.profiler import record_function

from paceline_trainer.data import batches_per_epoch, by_length, epoch_order, global_batches, position, shard
from paceline_trainer.distributed import World
from paceline_trainer.evaluation.predictions import Predictions, gathered
from paceline_trainer.optimization.compilation import compile_model
from paceline_trainer.optimization.precision import Precision
from paceline_trainer.optimization.recompute import recompute_activations
from paceline_trainer.parallel.parameter_server import Staleness
from paceline_trainer.parallel.spread import Spread
from paceline_trainer.recipes import Training
from paceline_trainer.task import Arrays, Task
from paceline_trainer.update import Update, Updated
from paceline_trainer.watching.anomaly import Action, AnomalyError
from paceline_trainer.watching.devices import peak_of
from paceline_trainer.watching.step_time import DATA, StepTimes


@dataclass(frozen=True)
class Wishes:
    """What processes ask for at a step's end. In a Step: what any of them asked for, the same in every process."""

    stop: bool = False
    save: bool = False

    def __or__(self, other: Wishes) -> Wishes:
        return Wishes(self.stop or other.stop, self.save or other.save)


@dataclass
class Step:
    """One step, as reported: loss is the mean over the global batch, rates are over all processes."""

    number: int
    total: int
    epoch: float
    loss: float
    samples_per_second: float
    eta_seconds: float
    wishes: Wishes
    # None where the step was left out.
    updated: Updated | None

    def __str__(self) -> str:
        return (
            f"step={self.number}/{self.total} epoch={self.epoch:.2f} loss={self.loss:.4f} "
            f"samples_per_s={self.samples_per_second:.0f}"
        )

    def figures(self) -> dict[str, float]:
        """The metrics of a progress report, in the words of transformers' KubeflowCallback."""
        return {
            "current_step": self.number,
            "total_steps": self.total,
            "current_epoch": round(self.epoch, 2),
            "loss": self.loss,
            "samples_per_second": self.samples_per_second,
            **self._rate_and_norm(),
        }

    def watched(self) -> dict[str, float]:
        """What is worth a curve."""
        return {"loss": self.loss, "samples_per_second": self.samples_per_second, **self._rate_and_norm()}

    def _rate_and_norm(self) -> dict[str, float]:
        if self.updated is None:
            return {}
        norm = {} if self.updated.norm is None else {"grad_norm": self.updated.norm}
        return {"learning_rate": self.updated.rate, **norm}


@dataclass
class Trained:
    """A run in memory. ``losses`` is of each step, those before a resume too; ``seconds`` is of this process."""

    spread: Spread
    optimizer: Optimizer
    update: Update
    times: StepTimes
    losses: list[float] = field(default_factory=list)
    seconds: float = 0.0
    # Of a parameter server, in its own process.
    staleness: Staleness | None = None


def make_optimizer(groups: list[dict[str, Any]], params: Training) -> Optimizer:
    """Of parameter groups, where rate and weight decay are the run's unless they have their own."""
    if params.optimizer == "sgd":
        return SGD(groups, lr=params.lr, momentum=0.9, weight_decay=params.weight_decay)
    return AdamW(groups, lr=params.lr, weight_decay=params.weight_decay)


def begin(task: Task, params: Training, world: World, steps: int, dtype: torch.dtype = torch.float32) -> Trained:
    """A fresh model, spread over the processes, and its optimizer, for a run of so many steps.

    Raises LayoutError where it cannot be spread as asked, PrecisionError where the device cannot compute so.
    """
    precision = Precision(params.precision, world.device)
    model = precision.prepare(task.begun(steps).to(world.device, dtype))
    if params.recompute_activations:
        recompute_activations(model)
    compile_model(model, params.compile, world.device)
    spread = Spread(model, task.losses, params, world, params.batch_size, precision)
    spread.attack = task.embedding_attack(spread.model)
    task.spread(spread.model)
    optimizer = make_optimizer(task.parameter_groups(spread.model), params)
    # FLOPs are for a share of the device's peak; what is compiled, computed twice or cut within layers is not counted rightly.
    countable = params.compile == "off" and not params.recompute_activations and params.tensor_parallel == 1
    # There can be one profiler at a time.
    times = StepTimes(enabled=not params.profile, count_flops=countable and peak_of(world.device) is not None)
    return Trained(spread, optimizer, Update(params, optimizer, steps, precision), times)


def total_steps(samples: int, params: Training) -> int:
    """Optimizer steps of the whole run; the last of an epoch may be of a smaller batch."""
    return params.epochs * batches_per_epoch(samples, params.batch_size)


def no_wishes(step: int) -> Wishes:
    return Wishes()


def train(
    task: Task,
    data: Arrays,
    params: Training,
    world: World,
    result: Trained,
    wishes: Callable[[int], Wishes] = no_wishes,
    left_out: Collection[int] = (),
) -> Iterator[Step]:
    """Trains ``result`` on from where its losses end, yielding after every step; the losses are the same in every process.

    ``wishes`` is asked for this process's at each step (numbered from 1); they travel with the loss, at no further message.
    Steps that are ``left_out`` are counted, and their samples are not trained on; their loss is NaN. Raises AnomalyError for
    a step that went wrong and is not to be skipped, with weights and losses as they were before it.
    """
    spread, pace = result.spread, Pace(result, len(data), params)
    for done, epoch, batch in batches(data, params, len(result.losses)):
        with result.times.step():
            result.optimizer.zero_grad(set_to_none=True)
            loss_sum = math.nan if done in left_out else backward(task, spread, data, batch, world, epoch, done)
            mine = wishes(done)
            told = torch.tensor([loss_sum, float(mine.stop), float(mine.save)], dtype=torch.float64)
            loss, stop, save = world.sum(told).tolist()
            updated = None if done in left_out else update(task, result, done, loss / len(batch))
        result.losses.append(loss / len(batch))
        yield pace.step(len(batch), Wishes(stop=stop > 0, save=save > 0), updated)


def batches(data: Arrays, params: Training, done: int) -> Iterator[tuple[int, int, Tensor]]:
    """Of the steps after ``done``: number (from 1), epoch (from 0), and the samples of the global batch (B,)."""
    start = position(done, len(data), params.batch_size)
    number = done
    for epoch in range(start.epoch, params.epochs):
        for batch in global_batches(ordered(data, params, epoch), params.batch_size)[
            start.batch if epoch == start.epoch else 0 :
        ]:
            number += 1
            yield number, epoch, batch


def ordered(data: Arrays, params: Training, epoch: int) -> Tensor:
    """The samples' indices (N,) as an epoch has them."""
    order = epoch_order(len(data), params.seed, epoch)
    return order if data.lengths is None else by_length(order, data.lengths, params.batch_size)


class Pace:
    """How fast the steps of this process go, from when it is made on."""

    def __init__(self, result: Trained, samples: int, params: Training) -> None:
        """``samples``: of an epoch."""
        self._result, self._epochs, self._total = result, params.epochs, total_steps(samples, params)
        self._began, self._resumed_at, self._samples = time.monotonic(), len(result.losses), 0

    def step(self, samples: int, wishes: Wishes, updated: Updated | None) -> Step:
        """After a step of so many samples, whose loss is the result's latest."""
        done, result = len(self._result.losses), self._result
        self._samples += samples
        result.seconds = time.monotonic() - self._began
        return Step(
            number=done,
            total=self._total,
            epoch=done * self._epochs / self._total,
            loss=result.losses[-1],
            samples_per_second=self._samples / result.seconds,
            eta_seconds=result.seconds / (done - self._resumed_at) * (self._total - done),
            wishes=wishes,
            updated=updated,
        )


def update(task: Task, result: Trained, step: int, loss: float) -> Updated:
    """Of the weights, by the gradients that are there. Raises AnomalyError for a step that went wrong, if not to be skipped."""
    task.before_update()
    updated = result.update.apply(result.spread, step, loss)
    if updated.anomaly is None:
        task.after_update(step)
    result.spread.after_update(step)
    if updated.anomaly is not None and updated.anomaly.action is not Action.SKIP:
        raise AnomalyError(updated.anomaly)
    return updated


def backward(task: Task, spread: Spread, data: Arrays, batch: Tensor, world: World, epoch: int, step: int) -> float:
    """Gradients of a global batch; the summed loss of the samples that this process counts."""
    # Each sample with the one before it, its partner where samples are mixed.
    mine, partners = spread.part(torch.stack([batch, batch.roll(1)], 1)).unbind(1)
    # A replica without any still takes part with one that weighs nothing: the others wait for its backward.
    weight = 1.0 if len(mine) else 0.0
    seen, partners = (mine, partners) if len(mine) else (batch[:1], batch[:1])
    with record_function(DATA):
        inputs, targets = (part.to(world.device) for part in task.batch(data, seen, partners, epoch, step))
    worst = task.attacked(spread.model, inputs, targets, seen, epoch)
    if worst is not None:
        inputs, targets, weight = torch.cat([inputs, worst]), torch.cat([targets, targets]), weight / 2
    loss = spread.backward(inputs, targets, weight / len(batch))
    return float(loss) * weight if spread.counts else 0.0


def predict(task: Task, spread: Spread, data: Arrays, world: World) -> Predictions | None:
    """Of every sample of a split once, in rank 0 (else None). All processes call it together."""
    return gathered(list(_predictions(task, spread, data, world)), world)


def mean_loss(task: Task, spread: Spread, data: Arrays, world: World) -> float:
    """Over every sample of a split once; the same in every process, and all call it together."""
    mine = sum(float(part.losses.double().sum()) for part in _predictions(task, spread, data, world))
    return float(world.sum(torch.tensor(mine, dtype=torch.float64))) / len(data)


@torch.no_grad()
def _predictions(task: Task, spread: Spread, data: Arrays, world: World) -> Iterator[Predictions]:
    """This process's, batch by batch. To be taken to the end in every process."""
    spread.settle()
    spread.model.eval()
    for batch in torch.split(torch.arange(len(data)), spread.evaluation_batch):
        mine = shard(batch, spread.data_rank, spread.layout.data)
        seen = mine if len(mine) else batch[:1]
        outputs = spread.outputs(data.inputs[seen].to(world.device), data.targets[seen].to(world.device))
        if outputs is not None and spread.counts and len(mine):
            outputs, targets = outputs.cpu(), data.targets[mine]
            yield Predictions(mine, outputs, targets, task.losses(outputs, targets))
    spread.model.train()
