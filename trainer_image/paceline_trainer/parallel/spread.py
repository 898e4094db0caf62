"""A model spread over processes: one way to run a step, whatever the layout."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from typing import cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.device_mesh import DeviceMesh

from paceline_trainer.data import shard
from paceline_trainer.distributed import World
from paceline_trainer.optimization.precision import Precision
from paceline_trainer.parallel import data_parallel, tensor_parallel
from paceline_trainer.parallel.layout import DATA, PIPELINE, TENSOR, Layout, layout
from paceline_trainer.parallel.local_sgd import Averaging
from paceline_trainer.parallel.parameter_server import Link
from paceline_trainer.parallel.pipeline import Pipeline, cut
from paceline_trainer.parallel.plan import Plan
from paceline_trainer.text.adversarial import Attack, adversarial_backward

Losses = Callable[[Tensor, Tensor], Tensor]
EVALUATION_BATCH = 512


class Spread:
    """The model as this process holds it. ``model`` has its parameters, for optimizer and checkpoint, under their own names;
    ``stages`` is the group of a pipeline, ``link`` that of a parameter server and its workers; ``attack``, where there is one, an
    embedding and how it is attacked in every pass."""

    def __init__(
        self, model: nn.Module, losses: Losses, plan: Plan, world: World, batch_size: int, precision: Precision
    ) -> None:
        """``batch_size``: samples of a step over all processes. Raises LayoutError where the plan does not fit."""
        self.layout: Layout = layout(world.size, plan.pipeline_stages, plan.tensor_parallel)
        sharded = plan.parallel == "fsdp"
        self._losses, self._accumulate, self._device = losses, plan.accumulate, world.device
        self._precision = precision
        self._pipeline: Pipeline | None = None
        self.stages: dist.ProcessGroup | None = None
        self.attack: tuple[nn.Module, Attack] | None = None
        self._averaging: Averaging | None = None
        self._batch_size, self._main = batch_size, world.main
        self.model = self._module = model
        self.data_rank, self.counts = 0, True
        self.link: Link | None = None
        if world.size == 1:
            return
        mesh = self.layout.mesh(world.device.type)
        self.data_rank = mesh[DATA].get_local_rank()
        if self.layout.pipeline > 1:
            cut(model, mesh[PIPELINE].get_local_rank(), self.layout.pipeline)
        if self.layout.tensor > 1:
            tensor_parallel.divide(model, mesh[TENSOR])
        self._module = self._replicas(model, mesh, plan, sharded=sharded)
        if self.layout.pipeline > 1:
            share = -(-batch_size // self.layout.data)
            self.stages = mesh[PIPELINE].get_group()
            self._pipeline = Pipeline(self._module, self.stages, world.device, losses, share, plan.microbatches)
        if plan.parallel == "server":
            self.link = Link(model, world)
        if plan.local_steps > 1 and self.layout.data > 1:
            self._averaging = Averaging(model, mesh[DATA].get_group(), plan.local_steps)
        # Of processes that see the same samples one adds their losses and metrics up.
        self.counts = mesh[TENSOR].get_local_rank() == 0 and (self._pipeline is None or self._pipeline.last)

    def _replicas(self, model: nn.Module, mesh: DeviceMesh, plan: Plan, *, sharded: bool) -> nn.Module:
        if self.layout.data == 1 or plan.local_steps > 1 or plan.parallel == "server":
            return model
        if sharded:
            data_parallel.shard(model, mesh[DATA])
            return model
        return data_parallel.replicate(
            model, mesh[DATA], bucket_mb=plan.bucket_mb, aggregation=plan.aggregation, rank=plan.powersgd_rank
        )

    def part(self, batch: Tensor) -> Tensor:
        """What this process trains on of a global batch (B, …); may be empty."""
        if self.link is not None:
            return shard(batch, self.data_rank - 1, self.link.workers)
        return shard(batch, self.data_rank, self.layout.data)

    def backward(self, inputs: Tensor, targets: Tensor, weight: float) -> Tensor:
        """Forward and backward of this replica's part (B, …) of a global batch; its summed loss, detached.

        ``weight`` is each sample's: with 1 / global batch size, the gradients are those of the mean over the global batch
        afterwards, whatever part of it each replica had.
        """
        # Replicas average their gradients; what is wanted is the sum, which a server makes.
        scale = weight if self.link is not None else self.layout.data * weight
        if self._pipeline is not None:
            with self._precision.autocast():
                return self._pipeline.backward(inputs, targets, scale)
        parts = list(zip(inputs.tensor_split(self._accumulate), targets.tensor_split(self._accumulate), strict=True))
        total = torch.zeros((), dtype=torch.float64, device=self._device)
        for number, (some, wanted) in enumerate(parts, 1):
            last = number == len(parts)
            with nullcontext() if last else data_parallel.unsynchronised(self._module):
                if len(some):
                    total += self._one(some, wanted, scale)
                else:  # every replica makes as many passes: sharded weights are gathered by all together
                    self._one(inputs[:1], targets[:1], 0.0)
        return total

    def _one(self, inputs: Tensor, targets: Tensor, scale: float) -> Tensor:
        def loss() -> Tensor:
            with self._precision.autocast():
                return self._losses(self._module(inputs), targets).sum()

        def backward(found: Tensor, leaves: Sequence[Tensor] | None = None) -> None:
            self._precision.backward(found * scale, leaves)

        if self.attack is not None:
            alone = partial(data_parallel.unsynchronised, self._module)
            return adversarial_backward(*self.attack, loss, backward, alone)
        found = loss()
        backward(found)
        return found.detach()

    @property
    def alone(self) -> bool:
        """Do replicas have weights and gradients of their own, until they average?"""
        return self._averaging is not None

    def after_update(self, step: int) -> None:
        """Of all processes, after each update; ``step`` counts from 1."""
        if self._averaging is not None:
            self._averaging.after_update(step)

    def settle(self) -> None:
        """All replicas have the same weights afterwards. All processes call it together, before they save or evaluate."""
        if self._averaging is not None:
            self._averaging.average()

    @torch.no_grad()
    def outputs(self, inputs: Tensor, targets: Tensor) -> Tensor | None:
        """The model's outputs (B, …) for evaluation; None on a pipeline's stages before the last."""
        with self._precision.autocast():
            found = self._pipeline.outputs(inputs, targets) if self._pipeline is not None else self._module(inputs)
        return found if found is None or found.dtype == torch.float64 else found.float()

    @property
    def evaluation_batch(self) -> int:
        """Samples that outputs() is given at most, over all replicas; in a pipeline a step's, whose shapes its stages know."""
        return self._batch_size if self._pipeline is not None else EVALUATION_BATCH * self.layout.data

    def full_state(self) -> dict[str, Tensor] | None:
        """The whole model's weights on the CPU, in rank 0 (else None). All processes call it together."""
        # Gathered layer by layer into rank 0's memory alone; in a pipeline by every process of its stage.
        options = StateDictOptions(full_state_dict=True, cpu_offload=self.stages is None)
        state = get_model_state_dict(self.model, options=options)
        own = {name: cast("Tensor", value).detach().cpu().contiguous() for name, value in state.items()}
        if self.stages is not None:
            parts: list[dict[str, Tensor]] | None = [{}] * self.stages.size() if self.stages.rank() == 0 else None
            dist.gather_object(own, parts, group=self.stages, group_dst=0)
            own = {name: value for part in parts or [] for name, value in part.items()}
        return own if self._main else None
