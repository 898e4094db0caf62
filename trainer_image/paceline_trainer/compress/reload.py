"""An exported model, read again in a process of its own: nothing of what made it is left there.

python -m paceline_trainer.compress.reload --folder EXPORT --format onnx --threads 1 --samples 128 --outputs logits.npy
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import torch

from paceline_trainer import recipes
from paceline_trainer.compress.errors import CompressionError
from paceline_trainer.compress.folders import FILES, fresh_model, runtime_of
from paceline_trainer.compress.scores import logits, scores
from paceline_trainer.compress.subject import data_of
from paceline_trainer.loaded import ModelError, manifest_of
from paceline_trainer.params import parse


def main() -> None:
    parser = argparse.ArgumentParser(prog="paceline_trainer.compress.reload", description="Read an exported model.")
    parser.add_argument("--folder", type=Path, required=True, help="what was exported")
    parser.add_argument("--format", choices=tuple(FILES), required=True)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--samples", type=int, required=True, help="so many of the evaluation split, its first")
    parser.add_argument("--outputs", type=Path, required=True, help="where the logits go, as .npy")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    try:
        manifest = manifest_of(args.folder)
        runtime = runtime_of(args.folder, manifest, args.format, args.threads, fresh_model(args.folder, manifest))
    except (CompressionError, ModelError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    judged_as = manifest["evaluatedAs"]
    data = data_of(judged_as["recipe"], parse(recipes.PARAMS[judged_as["recipe"]], judged_as["params"]))
    part = data.evaluation[torch.arange(min(args.samples, len(data.evaluation)))]
    outputs = logits(runtime, part)
    np.save(args.outputs, outputs.numpy(), allow_pickle=False)
    print(json.dumps(scores(data, outputs, part)))


if __name__ == "__main__":
    main()
