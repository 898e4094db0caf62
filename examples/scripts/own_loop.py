"""A training loop of one's own: DDP, elastic checkpoints, progress. Alone, or by torchrun, in Kubernetes or without:

PACELINE_CHECKPOINT_DIR=/tmp/own PACELINE_CHECKPOINT_EVERY_STEPS=50 torchrun --nproc-per-node 2 examples/scripts/own_loop.py
"""

import os

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import TensorDataset

from paceline_trainer import Batches, Checkpoints, Progress, World, world

EPOCHS, BATCH = int(os.environ.get("EPOCHS", "20")), 64


def main(w: World) -> None:
    images, labels = map(torch.from_numpy, load_digits(return_X_y=True))
    images = images.float() / 16
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)).to(w.device)
    replica = DistributedDataParallel(model) if w.size > 1 else model
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)

    progress = Progress(w)
    batches = Batches(TensorDataset(images[:1500], labels[:1500]), w, batch_size=BATCH, epochs=EPOCHS)
    with Checkpoints(w, model, optimizer, batches, progress, identity={"model": "digits"}) as checkpoints:
        if w.main and checkpoints.resumed:
            print(f"resumed from step {checkpoints.resumed}", flush=True)
        for batch in batches:  # of each 64 samples, those of this process
            x, y = (part.to(w.device) for part in batch.samples)
            share = cross_entropy(replica(x), y) * batch.scale  # DDP's mean of the shares is the mean of the 64
            optimizer.zero_grad()
            share.backward()
            optimizer.step()
            loss = w.sum(share.detach()).item() / w.size
            if w.main and batch.step % 10 == 0:
                print(f"step={batch.step}/{batch.total} loss={loss:.4f}", flush=True)
            progress.step(batch, loss)
            checkpoints.step(loss)  # saves when due, and at SIGTERM, which ends it here

    progress.say("evaluating")
    with torch.no_grad():
        found = model(images[1500:].to(w.device)).argmax(1).cpu()
    accuracy = (found == labels[1500:]).double().mean().item()
    if w.main:
        print(f"accuracy={accuracy:.4f}", flush=True)
    progress.finish(eval_accuracy=accuracy)


if __name__ == "__main__":
    with world() as w:
        main(w)
