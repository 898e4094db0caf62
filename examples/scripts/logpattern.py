"""A loop of one's own that only prints: `step=3/60 loss=0.5`. spec.progress.logPattern reads the rest from that.

torchrun --nproc-per-node 1 logpattern.py
"""

import os
import time

import torch
from torch import nn

STEPS = 60


def main() -> None:
    torch.manual_seed(0)
    model = nn.Linear(8, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    inputs = torch.randn(256, 8)
    targets = inputs.sum(1, keepdim=True)
    for step in range(1, STEPS + 1):
        loss = ((model(inputs) - targets) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if os.environ.get("RANK", "0") == "0":
            print(f"step={step}/{STEPS} loss={loss.item():.4f}", flush=True)
        time.sleep(0.3)


if __name__ == "__main__":
    main()
