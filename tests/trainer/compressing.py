"""What the tests of compression share: a small CNN that has been trained, and a tiny text model."""

from __future__ import annotations

import dataclasses
import io
import json
import pickletools
import zipfile
from pathlib import Path
from typing import Any

import torch

from paceline_trainer import artifact, recipes
from paceline_trainer.compress import stage
from paceline_trainer.compress.request import Stage, parsed
from paceline_trainer.compress.subject import Data, ServedText, data_of
from paceline_trainer.compress.telling import Telling
from paceline_trainer.recipes.image_classification import Cnn
from paceline_trainer.task import Arrays
from paceline_trainer.text.encoder import Classifier, Encoder, Head

RECIPE, PARAMS = "image-classification", recipes.ImageClassification(width=16)


def digits() -> Data:
    return data_of(RECIPE, PARAMS)


def trained_cnn(data: Data) -> Cnn:
    """Right about nine of ten digits."""
    torch.manual_seed(0)
    model = Cnn(PARAMS.width)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.003)
    for _ in range(4):
        for indices in torch.randperm(len(data.training)).split(64):
            optimizer.zero_grad()
            data.task.losses(model(data.training.inputs[indices]), data.training.targets[indices]).mean().backward()
            optimizer.step()
    return model.eval()


def saved(folder: Path, model: torch.nn.Module, metrics: dict[str, float]) -> Path:
    """As a run would leave it."""
    facts: dict[str, Any] = {"recipe": RECIPE, "params": dataclasses.asdict(PARAMS), "dataset": digits().task.dataset}
    facts |= {"world_size": 1, "seconds": 1.0, "metrics": metrics}
    report = {"evaluation": metrics, "samples": 1, "loss_by_epoch": []}
    artifact.save(folder, model.state_dict(), facts, report)
    return folder


def tiny_text() -> ServedText:
    """A BertModel of two layers with random weights, and three classes."""
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=200, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=128
    )
    return ServedText(Classifier(Encoder(BertModel(config, add_pooling_layer=False)), Head(32, 3, 0.0))).eval()


def some_texts(count: int, tokens: int = 12) -> torch.Tensor:
    """Token ids (count, tokens), the first of which end early."""
    ids = torch.randint(1, 200, (count, tokens), generator=torch.Generator().manual_seed(1))
    ids[: count // 2, tokens // 2 :] = 0
    return ids


def request(do: str, **fields: Any) -> Any:
    return parsed(json.dumps({"do": do, **{key: _plain(value) for key, value in fields.items()}}))


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else value


def run_stage(source: Path, output: Path, method: str, **fields: Any) -> dict[str, Any]:
    """The manifest of a stage that is run in this process, silent towards any operator."""
    asked = request("stage", **{"source": source, "input": source, "output": output, "method": method, **fields})
    assert isinstance(asked, Stage)
    return stage.run(asked, Telling({}))


def marked(data: Data) -> Data:
    """Data whose training inputs are all 1 and whose evaluation inputs are all 2."""
    return Data(
        data.task,
        Arrays(torch.ones_like(data.training.inputs), data.training.targets),
        Arrays(torch.full_like(data.evaluation.inputs, 2), data.evaluation.targets),
    )


def pickled(path: Path) -> list[str]:
    """Where in a file there is pickle: the file itself, or members of the archive that it is."""
    return _pickled(path.name, path.read_bytes())


def _pickled(name: str, content: bytes) -> list[str]:
    if zipfile.is_zipfile(io.BytesIO(content)) and content[:2] == b"PK":
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = [(f"{name}/{one}", archive.read(one)) for one in archive.namelist()]
        return [found for one, inner in members for found in _pickled(one, inner)]
    if name.endswith(".pkl"):
        return [name]
    try:
        opcodes = [opcode.name for opcode, _, _ in pickletools.genops(content)]
    except Exception:
        return []
    # A lone STOP is a file that begins with a full stop.
    return [name] if len(opcodes) > 2 else []
