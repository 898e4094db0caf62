"""The recipes by name. Parameters load without torch; the task itself is imported when it is to run."""

from __future__ import annotations

from dataclasses import dataclass, fields
from importlib import import_module
from typing import TYPE_CHECKING, ClassVar, cast

from paceline_trainer.optimization.plan import Optimization
from paceline_trainer.parallel.plan import Plan
from paceline_trainer.params import GIVEN, MANY, SOME, Refusal, again, param

if TYPE_CHECKING:
    from paceline_trainer.task import Task


MOST_FOLDS = 20
QUANTIZATIONS = ("none", "int8-dynamic", "int4-weight")


@dataclass(frozen=True)
class Training(Plan, Optimization):
    """What every recipe takes."""

    refusals: ClassVar[tuple[Refusal, ...]] = (
        *Plan.refusals,
        *Optimization.refusals,
        Refusal({"explosion": SOME, "local_steps": MANY}, "replicas that take local steps have gradients of their own"),
        Refusal({"precision": "fp16", "local_steps": MANY}, "replicas would not overflow together: take bf16"),
        Refusal({"precision": "fp16", "parallel": "server"}, "workers would not overflow together: take bf16"),
        Refusal(
            {"on_anomaly": "roll-back", "parallel": "server"},
            "workers have gone on by then: take stop, which begins again at the newest checkpoint, or skip",
        ),
    )

    epochs: int = param(10, "Passes over the training data.", minimum=1, maximum=10_000)
    batch_size: int = param(64, "Samples of one step, over all processes together.", minimum=1, maximum=1_000_000)
    lr: float = param(0.002, "Learning rate.", minimum=1e-8, maximum=100.0)
    weight_decay: float = param(0.0, "Weight decay.", minimum=0.0, maximum=1.0)
    optimizer: str = param("adamw", "Optimizer.", choices=("adamw", "sgd"))
    seed: int = param(0, "Seed of the weights and of the data's order.", minimum=0, maximum=2**31 - 1)
    deterministic: bool = param(False, "Use only algorithms that give the same result each time.")
    folds: int = param(
        0,
        "Cross-validate first, over so many folds of the training data; 0 is not at all.",
        choices=(0, *range(2, MOST_FOLDS + 1)),
    )
    patience: int = param(
        0,
        "End after so many epochs in a row without a better loss on a tenth of the training data that is kept back for it, "
        "and take the best epoch's weights; 0 trains all epochs, on all data.",
        minimum=0,
        maximum=10_000,
    )
    min_delta: float = param(0.0, "Of patience: what a loss must be lower by to be better.", minimum=0.0, maximum=1e9)
    profile: bool = param(False, "Write a trace of three steps of every process, for Perfetto or chrome://tracing.")


@dataclass(frozen=True)
class LinearRegression(Training):
    """Linear regression on scikit-learn's diabetes data (442 patients, 10 features)."""

    tensor_parallel: int = again(Training, "tensor_parallel", 1, choices=(1,))
    pipeline_stages: int = again(Training, "pipeline_stages", 1, choices=(1,))
    recompute_activations: bool = again(Training, "recompute_activations", False, choices=(False,))
    lr: float = again(Training, "lr", 0.05)


@dataclass(frozen=True)
class Classification(Training):
    """What every recipe that classifies takes: what a model is compressed by."""

    refusals: ClassVar[tuple[Refusal, ...]] = (
        *Training.refusals,
        Refusal({"teacher": GIVEN, "folds": SOME}, "the teacher has seen every fold: folds would be judged too well"),
        Refusal(
            {"start_from": GIVEN, "folds": SOME},
            "the model that is begun from has seen every fold: folds would be judged too well",
        ),
        Refusal({"confidence": SOME, "teacher": ""}, "pseudo-labels are a teacher's: set teacher, or confidence to 0"),
        Refusal(
            {"keep_zeros": True, "start_from": ""}, "only a model that is begun from has zeros to keep: set start_from"
        ),
        *(
            Refusal(
                {"quantization_aware": how, "precision": "fp8"},
                "both compute the linear layers their own way: take another precision",
            )
            for how in QUANTIZATIONS[1:]
        ),
        *(
            Refusal(
                {"quantization_aware": how, "tensor_parallel": MANY},
                "a divided layer has a part of the rows that are rounded together: tensor_parallel 1",
            )
            for how in QUANTIZATIONS[1:]
        ),
    )

    start_from: str = param(
        "", "Folder of a model that a run or a pruning left: training begins with its weights, in its shape."
    )
    keep_zeros: bool = param(False, "Weights that are zero in start_from, of matrices and convolutions, stay zero.")
    teacher: str = param("", "Folder of a model of the same recipe, whose outputs are learned from (distillation).")
    alpha: float = param(
        0.5, "Share of the teacher's soft targets in the loss; the rest is the labels'.", minimum=0.0, maximum=1.0
    )
    temperature: float = param(2.0, "What logits are divided by for soft targets.", minimum=0.01, maximum=1000.0)
    confidence: float = param(
        0.0,
        "Train on the teacher's class of an unlabelled sample where its probability is at least this; 0 is never.",
        minimum=0.0,
        maximum=1.0,
    )
    labelled: float = param(
        1.0,
        "Share of the training samples, of every class, whose labels are used; the others are unlabelled.",
        minimum=0.0001,
        maximum=1.0,
    )
    quantization_aware: str = param(
        "none", "Linear layers compute as they will when quantized so, and learn to.", choices=QUANTIZATIONS
    )


@dataclass(frozen=True)
class ImageClassification(Classification):
    """A 28×28 ten-class CNN on scikit-learn's digits (1,797 images, scaled up from 8×8)."""

    refusals: ClassVar[tuple[Refusal, ...]] = (
        *Classification.refusals,
        *(
            Refusal(
                {"attack": how, "parallel": "fsdp"}, f"{how} needs every process to hold the whole model: parallel: ddp"
            )
            for how in ("fgsm", "pgd")
        ),
        *(
            Refusal({"attack": how, "pipeline_stages": MANY}, f"{how} needs every process to hold the whole model")
            for how in ("fgsm", "pgd")
        ),
        Refusal({"mixup": SOME, "pipeline_stages": MANY}, "a pipeline's stages take classes, not mixtures of them"),
        Refusal({"mixup": SOME, "teacher": GIVEN}, "a teacher's targets are of one image, not of a mixture"),
    )

    tensor_parallel: int = again(Training, "tensor_parallel", 1, choices=(1, 2, 4, 8, 16))
    pipeline_stages: int = again(Training, "pipeline_stages", 1, choices=(1, 2, 4))
    crop: int = param(0, "Train on windows that are moved by so many pixels at most.", minimum=0, maximum=27)
    flip: float = param(0.0, "Train on mirrored images, this share of them; not of digits.", minimum=0.0, maximum=1.0)
    cutout: int = param(0, "Train on images with a square of this side blackened.", minimum=0, maximum=28)
    mixup: float = param(
        0.0,
        "Train on mixtures of two images; their shares are drawn from Beta(mixup, mixup).",
        minimum=0.0,
        maximum=100.0,
    )
    attack: str = param(
        "none", "Train on images as an adversary would change them, too.", choices=("none", "fgsm", "pgd")
    )
    epsilon: float = param(0.1, "What an attack changes a pixel by at most, of 1.", minimum=0.0, maximum=1.0)
    attack_steps: int = param(5, "Steps of pgd; each costs a forward and a backward pass.", minimum=1, maximum=1000)
    width: int = param(16, "Channels of the first convolution; the second has twice as many.", minimum=1, maximum=1024)


TUNINGS = ("full", "layerwise", "frozen", "lora", "adalora", "adapters")
LAYERS = 6


@dataclass(frozen=True)
class TextClassification(Classification):
    """Texts into classes."""

    refusals: ClassVar[tuple[Refusal, ...]] = (
        *Classification.refusals,
        *(
            Refusal(
                {"tuning": how, "parallel": "fsdp"},
                f"what {how} trains is small: every process holds it, with parallel: ddp",
            )
            for how in TUNINGS[2:]
        ),
        *(
            Refusal({"tuning": "frozen", name: SOME}, "with tuning: frozen texts are read once, not in every epoch")
            for name in ("replace", "insert", "swap", "delete")
        ),
        *(
            refusal
            for how in ("fgm", "pgd")
            for refusal in (
                Refusal(
                    {"tuning": "frozen", "attack": how}, "with tuning: frozen texts are read once, not in every epoch"
                ),
                Refusal({"attack": how, "precision": "fp16"}, f"{how} reads gradients, which fp16 scales: take bf16"),
            )
        ),
        Refusal(
            {"tuning": "adalora", "parallel": "server"},
            "adalora's ranks are given out where gradients are: parallel: ddp",
        ),
        Refusal({"tuning": "adalora", "precision": "fp16"}, "adalora reads gradients, which fp16 scales: take bf16"),
        Refusal({"hidden": SOME, "teacher": ""}, "hidden states are compared with a teacher's: set teacher"),
        Refusal({"unlabelled": GIVEN, "teacher": ""}, "only a teacher can say what unlabelled texts are: set teacher"),
        Refusal({"tuning": "frozen", "hidden": SOME}, "with tuning: frozen no hidden state learns"),
        Refusal(
            {"tuning": "frozen", "start_from": GIVEN}, "with tuning: frozen texts are read by the pretrained encoder"
        ),
        *(
            Refusal({"tuning": how, "keep_zeros": True}, f"what {how} learns is added to the zeros: tuning full")
            for how in ("lora", "adalora")
        ),
        Refusal(
            {"tuning": "adapters", "keep_zeros": True},
            "adapters begin as zeros, and what they are beside does not train: it stays zero without keep_zeros",
        ),
        *(
            Refusal({"tuning": how, "quantization_aware": quantization}, why)
            for quantization in QUANTIZATIONS[1:]
            for how, why in (
                ("frozen", "with tuning: frozen no layer learns to be quantized: tuning full"),
                ("lora", "what lora learns is merged before it is quantized: tuning full"),
                ("adalora", "what adalora learns is merged before it is quantized: tuning full"),
            )
        ),
    )

    tensor_parallel: int = again(Training, "tensor_parallel", 1, choices=(1,))
    pipeline_stages: int = again(Training, "pipeline_stages", 1, choices=(1,))
    epochs: int = again(Training, "epochs", 3)
    batch_size: int = again(Training, "batch_size", 32)
    lr: float = again(Training, "lr", 5e-5)
    weight_decay: float = param(0.01, "Weight decay, of matrices only.", minimum=0.0, maximum=1.0)
    schedule: str = again(Training, "schedule", "linear")
    tuning: str = param(
        "full", "What of the encoder trains, and how; the classifier on it always does.", choices=TUNINGS
    )
    max_tokens: int = param(128, "Of a text; the rest is cut off.", minimum=8, maximum=512)
    dropout: float = param(0.1, "Of hidden states and attention, and before the classifier.", minimum=0.0, maximum=0.9)
    layer_decay: float = param(
        0.8, "Of layerwise: each layer's rate is that of the next higher one times this.", minimum=0.01, maximum=1.0
    )
    lora_rank: int = param(8, "Of lora; of adalora what is left on average.", minimum=1, maximum=256)
    lora_alpha: int = param(16, "Updates of lora and adalora count alpha / rank times.", minimum=1, maximum=1024)
    adapter_width: int = param(48, "Features of an adapter's bottleneck.", minimum=1, maximum=1024)
    replace: float = param(0.0, "Train on texts with this share of words as synonyms.", minimum=0.0, maximum=1.0)
    insert: float = param(0.0, "Train on texts with this share of synonyms more.", minimum=0.0, maximum=1.0)
    swap: float = param(0.0, "Train on texts with this share of words exchanged.", minimum=0.0, maximum=1.0)
    delete: float = param(0.0, "Train on texts without this share of words.", minimum=0.0, maximum=1.0)
    attack: str = param(
        "none", "Train on embeddings as an adversary would change them, too.", choices=("none", "fgm", "pgd")
    )
    epsilon: float = param(0.5, "Of an attack: the L2 norm of a text's change.", minimum=1e-6, maximum=1000.0)
    attack_steps: int = param(3, "Steps of pgd; each costs a forward and a backward pass.", minimum=1, maximum=1000)
    layers: int = param(
        LAYERS, "Of the encoder that are kept, spaced evenly: fewer are faster.", minimum=1, maximum=LAYERS
    )
    hidden: float = param(
        0.0, "Weight of the mean squared distance to the teacher's pooled features.", minimum=0.0, maximum=1e6
    )
    unlabelled: str = param("", "File of more unlabelled texts, one a line, UTF-8.")


@dataclass(frozen=True)
class SentimentAnalysis(TextClassification):
    """Sentiment of 38,158 tweets (negative, neutral, positive), by fine-tuning MiniLM."""

    max_tokens: int = again(TextClassification, "max_tokens", 64)


@dataclass(frozen=True)
class TopicClassification(TextClassification):
    """Topics of 2,225 BBC news documents (five classes), by fine-tuning MiniLM."""


# What may change when a run goes on from a checkpoint, how it is spread over processes too; any other parameter shapes
# the model, its state or the data's order.
MAY_CHANGE = {"epochs", "lr", "weight_decay", "min_delta", "profile"} | {
    field.name for part in (Plan, Optimization) for field in fields(part)
}

PARAMS: dict[str, type[Training]] = {
    "image-classification": ImageClassification,
    "linear-regression": LinearRegression,
    "sentiment-analysis": SentimentAnalysis,
    "topic-classification": TopicClassification,
}


def load(name: str) -> type[Task]:
    """The task class of a recipe: module recipes/NAME.py, class named as its parameters with `Task` behind."""
    module = import_module(f"paceline_trainer.recipes.{name.replace('-', '_')}")
    return cast("type[Task]", getattr(module, PARAMS[name].__name__ + "Task"))
