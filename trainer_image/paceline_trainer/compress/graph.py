"""The model as a graph: ONNX by torch's own exporter, ONNX Runtime's sessions, and torch.export's programs without pickle.

torch.export.save() of torch 2.15 writes graph and configuration as JSON and weights as raw bytes. It pickles three things: the
example inputs, tensors of subclasses, and constants that are objects. The first are left out here, the others do not occur in
a float model, and a file in which there is pickle nevertheless is refused, before it is loaded too: so loading unpickles nothing.
"""

from __future__ import annotations

import logging
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from paceline_trainer.compress.errors import CompressionError

if TYPE_CHECKING:
    import onnxruntime

INPUT, OUTPUT = "input", "logits"
MOST_SAMPLES, MOST_TOKENS = 65_536, 512


def export_onnx(module: nn.Module, example: Tensor, path: Path) -> None:
    """Writes FP32 ONNX, of any batch and, of texts, any number of tokens; weights are in the file. ``example`` (B, …)."""
    with _quiet():
        program = torch.onnx.export(
            module,
            (_two(example),),
            dynamo=True,
            dynamic_shapes=(_dynamic(example),),
            input_names=[INPUT],
            output_names=[OUTPUT],
            verbose=False,
        )
    assert program is not None  # it is, with dynamo
    # Where each node came from, with paths and lines of source: 0.6 MB of MiniLM, and nobody's business.
    for node in program.model.graph.all_nodes():
        node.metadata_props.clear()
    program.save(str(path), external_data=False)


def export_torch(module: nn.Module, example: Tensor, path: Path) -> None:
    """Writes a torch.export program. Raises CompressionError where it would hold pickle."""
    with _quiet():
        program = torch.export.export(module, (_two(example),), dynamic_shapes=(_dynamic(example),))
    program.example_inputs = None
    torch.export.save(program, path)
    without_pickle(path)


def load_torch(path: Path) -> nn.Module:
    """Raises CompressionError where the file holds pickle, or is none."""
    without_pickle(path)
    return torch.export.load(path).module()


def without_pickle(path: Path) -> None:
    """Raises CompressionError where a program's file holds something that loading would unpickle."""
    import json

    try:
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                content = archive.read(name)
                # What torch.save() makes is an archive itself; payloads that are pickled are marked as such.
                nested = content[:4] == b"PK\x03\x04"
                payloads = json.loads(content).get("config", {}).values() if name.endswith("_config.json") else ()
                if nested or name.endswith(".pkl") or any(one.get("use_pickle") for one in payloads):
                    raise CompressionError(f"{path} holds pickle, in {name}: it is not loaded")
    except (zipfile.BadZipFile, OSError, AttributeError) as error:
        raise CompressionError(f"{path} is no exported program: {error}") from error


def _two(example: Tensor) -> Tensor:
    # A batch of one would be taken for a size that never changes.
    return example.repeat((2, *[1] * (example.ndim - 1)))[:2]


def _dynamic(example: Tensor) -> dict[int, Any]:
    found: dict[int, Any] = {0: torch.export.Dim("batch", min=1, max=MOST_SAMPLES)}
    if not example.is_floating_point():
        found[1] = torch.export.Dim("tokens", min=2, max=MOST_TOKENS)
    return found


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what the exporter says of packages that are not there and of its own deprecations."""
    logger = logging.getLogger("torch")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def session(path: Path, threads: int) -> onnxruntime.InferenceSession:
    """On the CPU, nodes one after the other."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    # Else its threads go on spinning after a run, beside the model that is measured next.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
