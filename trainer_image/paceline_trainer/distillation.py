"""Knowledge distillation (Hinton et al. 2015): a student that learns from a teacher's outputs beside, or without, labels.

What a teacher says of a sample travels in the sample's targets (N, 1 + C [+ H]): the class, UNLABELLED where nobody says it, the
teacher's logits, and its pooled features where these are compared.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional as F

UNLABELLED = -1
# What a teacher reads at once. Of a fixed size: a sample's outputs may depend, in their last bits, on what it is computed with.
BATCH = 64


@dataclass(frozen=True)
class Mixture:
    """What a sample's loss is made of: (1 - alpha) · CE + alpha · T² · KL + hidden · MSE; a student has ``classes`` logits."""

    classes: int
    alpha: float
    temperature: float
    hidden: float = 0.0

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Loss of each sample (B,), of outputs (B, C [+ H]) and targets (B, 1 + C [+ H]).

        KL is from the teacher's distribution at the temperature to the student's; T² keeps its gradients' size at any T. MSE is
        the mean over the features. A sample without a class has no CE.
        """
        if outputs.dtype != torch.float64:
            outputs = outputs.float()
        targets = targets.to(outputs.dtype)
        logits, features = outputs[:, : self.classes], outputs[:, self.classes :]
        taught, wanted = targets[:, 1 : 1 + self.classes], targets[:, 1 + self.classes :]
        hard = F.cross_entropy(logits, targets[:, 0].long(), reduction="none", ignore_index=UNLABELLED)
        found = (1 - self.alpha) * hard + self.alpha * soft_losses(logits, taught, self.temperature)
        if self.hidden:
            found = found + self.hidden * F.mse_loss(features, wanted, reduction="none").mean(1)
        return found

    @property
    def uses_unlabelled(self) -> bool:
        """Is there anything to learn of a sample without a class?"""
        return self.alpha > 0 or self.hidden > 0


def soft_losses(logits: Tensor, teachers: Tensor, temperature: float) -> Tensor:
    """T² · KL(teacher ‖ student) of each sample (B,), both of logits (B, C) at the temperature T."""
    student, teacher = (F.log_softmax(each / temperature, 1) for each in (logits, teachers))
    return temperature**2 * F.kl_div(student, teacher, reduction="none", log_target=True).sum(1)


@torch.no_grad()
def together(
    compute: Callable[[Tensor], Tensor],
    inputs: Tensor,
    lengths: Tensor | None,
    width: int,
    device: torch.device,
    batch_size: int = BATCH,
) -> Tensor:
    """Rows (N, width) that ``compute`` makes of inputs (N, …), on the CPU, in every process; each computes a part.

    ``lengths`` (N,), of texts: those of similar length are computed together. All processes of the default group call it, if
    there is one; which samples share a batch does not depend on their number, so the rows are the same bit by bit. Raises
    ValueError where rows are of another width.
    """
    rank, size = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    order = torch.arange(len(inputs)) if lengths is None else lengths.argsort(stable=True)
    found = torch.zeros(len(inputs), width, device=device)
    for batch in torch.split(order, batch_size)[rank::size]:
        rows = compute(inputs[batch].to(device)).float()
        if rows.shape[1] != width:
            raise ValueError(f"there are {rows.shape[1]} outputs of a sample, and {width} are wanted")
        found[batch.to(device)] = rows
    if size > 1:
        dist.all_reduce(found)  # every row is that of one process, and zeros
    return found.cpu()


@dataclass(frozen=True)
class Labels:
    """Classes (N,) of unlabelled samples, UNLABELLED where the teacher is not sure; how many it is sure of, and not."""

    classes: Tensor
    sure: int
    unsure: int


def pseudo_labels(logits: Tensor, confidence: float) -> Labels:
    """The teacher's classes, where its probability (at temperature 1) is at least ``confidence``; 0 is never. Logits (N, C)."""
    probability, classes = logits.softmax(1).max(1)
    sure = probability >= confidence if confidence else torch.zeros(len(logits), dtype=torch.bool)
    return Labels(torch.where(sure, classes, UNLABELLED), int(sure.sum()), len(logits) - int(sure.sum()))
