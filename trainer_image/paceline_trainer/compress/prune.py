"""Pruning: whole channels, solved for a target (Torch-Pruning, Fang et al. 2023), or single weights (torch.nn.utils.prune)."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
import torch_pruning
from torch import Tensor, nn
from torch.nn.utils import prune

from paceline_trainer.compress.errors import CompressionError
from paceline_trainer.compress.methods import PruneStructured, PruneUnstructured
from paceline_trainer.compress.subject import ServedText

# Halvings of the interval in which the share of channels is looked for: finer than one channel of 2,048.
HALVINGS = 11
# Rounds and their rounding may leave a channel more than one step does; the share then goes up by one channel, so often.
CORRECTIONS = 8


@dataclass(frozen=True)
class Size:
    """``macs``: multiply-accumulates of one forward pass of one sample, in matrix products and convolutions."""

    macs: int
    parameters: int
    nonzero: int


def size(module: nn.Module, example: Tensor) -> Size:
    """``example``: one sample (1, …)."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(example)
    weights = list(module.parameters())
    return Size(
        counter.get_total_flops() // 2,
        sum(weight.numel() for weight in weights),
        sum(int(weight.count_nonzero()) for weight in weights),
    )


def structured(
    module: nn.Module,
    example: Tensor,
    params: PruneStructured,
    target: dict[str, float],
    losses: Callable[[nn.Module], Iterable[Tensor]],
    say: Callable[[str], None],
) -> dict[str, float]:
    """Removes channels from ``module``, in place, so that the ratio that is asked for is met: at most the target, and as near to
    it as whole channels of one share in all layers allow. The ratios that were reached.

    ``losses`` yields the mean loss of training batches, whose gradients taylor goes by. Raises CompressionError where the target
    is out of reach.
    """
    (name, wanted), whole = next(iter(target.items())), size(module, example)

    def reached(found: Size) -> float:
        return found.macs / whole.macs if name == "macsRatio" else found.parameters / whole.parameters

    def without(share: float) -> float:
        trial = copy.deepcopy(module)
        _remove(trial, example, share, PruneStructured(round_to=params.round_to, rounds=1), losses)
        return reached(size(trial, example))

    narrowest = min(layer.weight.shape[0] for layer in _prunable(module))
    # Half a channel more than must stay: a share that leaves 0.9999 of one would leave none, and nothing would be removed.
    least, most = 0.0, max(0.0, 1 - (params.round_to + 0.5) / narrowest)
    if (possible := without(most)) > wanted:
        raise CompressionError(
            f"target.{name}: {wanted} cannot be reached by removing channels, {possible:.3f} is the least"
            f"{' (only the feed-forward layers of a text model are narrowed)' if isinstance(module, ServedText) else ''}: "
            "ask for less, distil to fewer layers first, or quantize"
        )
    for _ in range(HALVINGS):
        middle = (least + most) / 2
        least, most = (least, middle) if without(middle) <= wanted else (middle, most)
    share = most
    for _ in range(CORRECTIONS):
        pruned = copy.deepcopy(module)
        _remove(pruned, example, share, params, losses)
        if reached(size(pruned, example)) <= wanted:
            break
        share = min(1.0, share + params.round_to / narrowest)
    else:
        raise CompressionError(f"target.{name}: {wanted} was not met in {params.rounds} rounds: take fewer rounds")
    _take(module, pruned)
    now = size(module, example)
    ratios = {"reachedMacsRatio": now.macs / whole.macs, "reachedParametersRatio": now.parameters / whole.parameters}
    say(
        f"removed {share:.1%} of the channels in {params.rounds} rounds: {ratios['reachedMacsRatio']:.4f} of the MACs and "
        f"{ratios['reachedParametersRatio']:.4f} of the parameters are left ({name} {wanted} was asked for)"
    )
    return ratios


def _remove(
    module: nn.Module,
    example: Tensor,
    share: float,
    params: PruneStructured,
    losses: Callable[[nn.Module], Iterable[Tensor]],
) -> None:
    for weight in module.parameters():
        weight.requires_grad_()  # of a frozen encoder, too: else its layers would be no part of the graph
    taylor = params.importance == "taylor"
    chosen = _prunable(module)
    left_out = [
        layer
        for layer in module.modules()
        if isinstance(layer, nn.Linear | nn.Conv2d) and not any(layer is one for one in chosen)
    ]
    pruner = torch_pruning.pruner.BasePruner(
        module,
        example,
        importance=torch_pruning.importance.GroupTaylorImportance()
        if taylor
        else torch_pruning.importance.GroupMagnitudeImportance(p=2),
        pruning_ratio=share,
        iterative_steps=params.rounds,
        ignored_layers=left_out,
        round_to=params.round_to,
    )
    for _ in range(params.rounds):
        if taylor:
            module.zero_grad()
            for loss in losses(module):
                loss.backward()  # type: ignore[no-untyped-call]
        pruner.step()
    module.zero_grad()


def _prunable(module: nn.Module) -> list[nn.Linear | nn.Conv2d]:
    """The layers whose outputs are narrowed: of a text model its feed-forward layers, else all but the last."""
    layers = [(name, one) for name, one in module.named_modules() if isinstance(one, nn.Linear | nn.Conv2d)]
    if isinstance(module, ServedText):
        return [one for name, one in layers if name.endswith("intermediate.dense")]
    return [one for _, one in layers[:-1]]


def _take(module: nn.Module, pruned: nn.Module) -> None:
    for name, layer in list(pruned.named_modules()):
        if isinstance(layer, nn.Linear | nn.Conv2d):
            module.set_submodule(name, layer)


def unstructured(
    module: nn.Module, params: PruneUnstructured, sparsity: float, say: Callable[[str], None]
) -> dict[str, float]:
    """Sets this share of the weights of linear and convolutional layers to zero, in place and for good. Raises
    CompressionError."""
    layers = [one for one in module.modules() if isinstance(one, nn.Linear | nn.Conv2d)]
    if params.pattern == "2:4":
        if sparsity != 0.5:
            raise CompressionError(f"target.sparsity: 2:4 is a half, not {sparsity}: ask for 0.5")
        # Rows that are no multiple of four (a first convolution's) cannot have the pattern.
        layers = [layer for layer in layers if layer.weight[0].numel() % 4 == 0]
        for layer in layers:
            prune.custom_from_mask(layer, "weight", two_of_four(layer.weight))  # type: ignore[no-untyped-call]
    elif params.scope == "global":
        prune.global_unstructured(
            [(layer, "weight") for layer in layers], pruning_method=prune.L1Unstructured, amount=sparsity
        )
    else:
        for layer in layers:
            prune.l1_unstructured(layer, "weight", amount=sparsity)  # type: ignore[no-untyped-call]
    for layer in layers:
        prune.remove(layer, "weight")  # type: ignore[no-untyped-call]
    found = zeros(layers)
    say(
        f"{found:.2%} of the weights of {len(layers)} layers are zero; no runtime here skips them, so nothing is faster"
    )
    return {"reachedSparsity": found}


def two_of_four(weight: Tensor) -> Tensor:
    """1 for the two largest of each four neighbours of a row's weights, else 0; of the weight's shape (rows, …)."""
    groups = weight.detach().abs().reshape(len(weight), -1, 4)
    return torch.zeros_like(groups).scatter_(2, groups.topk(2, dim=2).indices, 1).reshape(weight.shape)


def zeros(layers: Iterable[nn.Linear | nn.Conv2d]) -> float:
    """The share of the layers' weights that are zero."""
    weights = [layer.weight for layer in layers]
    return 1 - sum(int(weight.count_nonzero()) for weight in weights) / sum(weight.numel() for weight in weights)
