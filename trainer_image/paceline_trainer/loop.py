"""The training loop: data parallel, exact whatever the number of processes.

The loss of a step is the mean over the *global* batch. DDP averages gradients over processes, so each process scales its
part by world size / global batch size: uneven shards then weigh as they should, and two processes give the losses of one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import SGD, AdamW, Optimizer

from paceline_trainer.data import batches_per_epoch, epoch_order, global_batches, position, shard
from paceline_trainer.distributed import World
from paceline_trainer.recipes import Training
from paceline_trainer.task import Arrays, Evaluation, Task


@dataclass(frozen=True)
class Wishes:
    """What processes ask for at a step's end. In a Step: what any of them asked for, the same in every process."""

    stop: bool = False
    save: bool = False


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
        }


@dataclass
class Trained:
    """A run in memory. ``losses`` is of each step, those before a resume too; ``seconds`` is of this process."""

    model: nn.Module
    optimizer: Optimizer
    losses: list[float] = field(default_factory=list)
    seconds: float = 0.0


def make_optimizer(model: nn.Module, params: Training) -> Optimizer:
    if params.optimizer == "sgd":
        return SGD(model.parameters(), lr=params.lr, momentum=0.9, weight_decay=params.weight_decay)
    return AdamW(model.parameters(), lr=params.lr, weight_decay=params.weight_decay)


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
) -> Iterator[Step]:
    """Trains ``result`` on from where its losses end, yielding after every step; the losses are the same in every process.

    ``wishes`` is asked for this process's at each step (numbered from 1); they travel with the loss, at no further message.
    """
    wrapped = DistributedDataParallel(result.model) if world.size > 1 else result.model
    total, began, resumed_at = total_steps(len(data), params), time.monotonic(), len(result.losses)
    start = position(resumed_at, len(data), params.batch_size)
    samples = start.samples
    for epoch in range(start.epoch, params.epochs):
        batches = global_batches(epoch_order(len(data), params.seed, epoch), params.batch_size)
        for batch in batches[start.batch if epoch == start.epoch else 0 :]:
            loss_sum = _local_loss(task, wrapped, data, shard(batch, world.rank, world.size), world)
            result.optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss_sum * (world.size / len(batch)))
            result.optimizer.step()
            done = len(result.losses) + 1
            mine = wishes(done)
            told = torch.tensor([float(loss_sum.detach()), float(mine.stop), float(mine.save)], dtype=torch.float64)
            loss, stop, save = world.sum(told).tolist()
            result.losses.append(loss / len(batch))
            samples += len(batch)
            result.seconds = time.monotonic() - began
            yield Step(
                number=done,
                total=total,
                epoch=done * params.epochs / total,
                loss=result.losses[-1],
                samples_per_second=(samples - start.samples) / result.seconds,
                eta_seconds=result.seconds / (done - resumed_at) * (total - done),
                wishes=Wishes(stop=stop > 0, save=save > 0),
            )


def _local_loss(task: Task, model: nn.Module, data: Arrays, mine: Tensor, world: World) -> Tensor:
    """Summed loss of this process's samples. Without any it still takes part: DDP waits for every process's backward."""
    weight = 1.0
    if len(mine) == 0:
        mine, weight = torch.zeros(1, dtype=torch.int64), 0.0
    inputs, targets = data.inputs[mine].to(world.device), data.targets[mine].to(world.device)
    return task.losses(model(inputs), targets).sum() * weight


@torch.no_grad()
def evaluate(task: Task, model: nn.Module, data: Arrays, world: World, batch_size: int = 512) -> Evaluation:
    """Exact over the whole split: every sample is counted once, by whichever process has it."""
    model.eval()
    sums: Tensor | None = None
    for batch in torch.split(shard(torch.arange(len(data)), world.rank, world.size), batch_size):
        outputs = model(data.inputs[batch].to(world.device)).cpu()
        part = task.statistics(outputs, data.targets[batch])
        sums = part if sums is None else sums + part
    if sums is None or len(data) < world.size:
        raise ValueError(f"{len(data)} evaluation samples cannot be shared by {world.size} processes")
    model.train()
    return task.evaluation(world.sum(sums))
