"""What recompute_activations and compile cost and save on this CPU: processor time of a step, bytes kept for backward.

python -m tests.trainer.switch_cost [ROUNDS]

Ratios to a step without either, rounds interleaved; of the digits CNN at its defaults, and of MiniLM with 8 texts of 64 tokens.
"""

from __future__ import annotations

import statistics
import sys

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import AdamW

from paceline_trainer.optimization.compilation import compile_model
from paceline_trainer.optimization.recompute import recompute_activations
from paceline_trainer.recipes.image_classification import Cnn
from paceline_trainer.text.encoder import FEATURES, Classifier, Encoder, Head, pretrained
from tests.trainer.measured import kept_bytes, processor_seconds

STEPS = 5


class Run:
    def __init__(self, model: nn.Module, inputs: Tensor, switch: str) -> None:
        if switch == "recompute_activations":
            recompute_activations(model)
        elif switch:
            compile_model(model, switch.removeprefix("compile: "), torch.device("cpu"))
        self.model, self.inputs, self.targets = model.train(), inputs, torch.arange(len(inputs)) % 5
        self.optimizer = AdamW([parameter for parameter in model.parameters() if parameter.requires_grad])
        self.step()  # compiles

    def step(self) -> None:
        self.optimizer.zero_grad()
        cross_entropy(self.model(self.inputs), self.targets).backward()
        self.optimizer.step()

    def forward(self) -> None:
        cross_entropy(self.model(self.inputs), self.targets)


def models() -> dict[str, tuple[nn.Module, Tensor]]:
    torch.manual_seed(0)
    encoder = Classifier(Encoder(pretrained(0.1)), Head(FEATURES, 5, 0.1))
    return {
        "digits CNN": (Cnn(16), torch.rand(64, 1, 28, 28)),
        "MiniLM": (encoder, torch.randint(1000, 2000, (8, 64))),
    }


def main() -> None:
    rounds = int(sys.argv[1]) if sys.argv[1:] else 5
    torch.set_num_threads(1)
    switches = ("", "recompute_activations", "compile: default")
    print("| model | switch | processor time of a step | range | kept for backward |\n| --- | --- | --- | --- | --- |")
    for name in models():
        runs = {switch: Run(*models()[name], switch) for switch in switches}
        ratios: dict[str, list[float]] = {switch: [] for switch in switches}
        for _ in range(rounds):
            seconds = {switch: processor_seconds(run.step, STEPS) for switch, run in runs.items()}
            for switch in switches:
                ratios[switch].append(seconds[switch] / seconds[""])
        for switch in switches[1:]:
            of = ratios[switch]
            row = [name, f"`{switch}`", f"{statistics.median(of):.2f}", f"{min(of):.2f} to {max(of):.2f}"]
            kept = kept_bytes(runs[switch].model, runs[switch].forward) / kept_bytes(runs[""].model, runs[""].forward)
            print("|", " | ".join([*row, f"{kept:.2f}"]), "|", flush=True)


if __name__ == "__main__":
    main()
