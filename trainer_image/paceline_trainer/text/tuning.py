"""Ways to fine-tune an encoder: which parameters train, and at which rates.

full: all. frozen: the head only. layerwise: all, each layer slower than the one above it. lora, adalora, adapters: small
modules added to a frozen backbone. All keep the head trainable.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from paceline_trainer.recipes import TextClassification
from paceline_trainer.text.adapters import add_adapters
from paceline_trainer.text.encoder import Classifier

# The projections that LoRA is best spent on at a given size (Hu et al. 2021, section 7.1) and, for AdaLoRA, which
# finds out for itself where rank pays, all of a layer's (Zhang et al. 2023).
LORA_TARGETS = ["query", "value"]
ADALORA_TARGETS = ["query", "key", "value", "dense"]
ADAPTER = "default"


def prepare(model: Classifier, params: TextClassification, total_steps: int) -> Any:
    """Adds what ``params.tuning`` adds and sets what trains, in place; the outputs stay as they are. Returns peft's
    configuration, where it has one.

    ``total_steps``: of the run, in which AdaLoRA gives its budget out.
    """
    backbone, config = model.encoder.backbone, None
    if params.tuning == "frozen":
        backbone.requires_grad_(False)
    elif params.tuning == "adapters":
        add_adapters(backbone, params.adapter_width)
    elif params.tuning in ("lora", "adalora"):
        from peft import inject_adapter_in_model

        config = _lora(params) if params.tuning == "lora" else _adalora(params, total_steps)
        inject_adapter_in_model(config, backbone, ADAPTER)
    return config


def _lora(params: TextClassification) -> Any:
    from peft import LoraConfig

    return LoraConfig(r=params.lora_rank, lora_alpha=params.lora_alpha, target_modules=LORA_TARGETS)


def _adalora(params: TextClassification, total_steps: int) -> Any:
    """Begins with half as much rank again as is left in the end; the first tenth of the run warms up, the last third is
    trained with the ranks as they are then."""
    from peft import AdaLoraConfig

    return AdaLoraConfig(
        init_r=-(-3 * params.lora_rank // 2),
        target_r=params.lora_rank,
        lora_alpha=params.lora_alpha,
        target_modules=ADALORA_TARGETS,
        total_step=max(3, total_steps),
        tinit=total_steps // 10,
        tfinal=total_steps // 3,
        deltaT=max(1, total_steps // 100),
    )


def merge(model: nn.Module) -> None:
    """Adds LoRA's or AdaLoRA's updates, if there are any, to the weights they are of: no cost in inference, plain names again."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    for name, module in list(model.named_modules()):
        if isinstance(module, BaseTunerLayer):
            module.merge()
            model.set_submodule(name, module.get_base_layer())


def trainable(model: nn.Module) -> int:
    """How many parameters train."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def parameter_groups(model: Classifier, params: TextClassification) -> list[dict[str, Any]]:
    """An optimizer's groups, of what trains. No decay of biases and norms; with layerwise a group and rate for each layer.

    Rates of layer L of n, with 1 below 2: lr × decay^(n + 1 - L), embeddings lr × decay^(n + 1), the head lr.
    """
    depth = int(model.encoder.backbone.config.num_hidden_layers)  # type: ignore[union-attr, arg-type]
    decay = params.layer_decay if params.tuning == "layerwise" else 1.0
    groups: dict[tuple[float, float], dict[str, Any]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            rate = params.lr * decay ** _below_the_head(name, depth)
            own_decay = params.weight_decay if parameter.ndim > 1 else 0.0
            group = groups.setdefault((rate, own_decay), {"params": [], "lr": rate, "weight_decay": own_decay})
            group["params"].append(parameter)
    return list(groups.values())


def _below_the_head(name: str, depth: int) -> int:
    """Layers between the head and a parameter: 0 for the head, 1 for the uppermost layer."""
    if name.startswith("head."):
        return 0
    if ".encoder.layer." in name:
        return depth - int(name.split(".encoder.layer.")[1].split(".", maxsplit=1)[0])
    return depth + 1
