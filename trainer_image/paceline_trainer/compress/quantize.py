"""int8 by ONNX Runtime, from a float ONNX file."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

from torch import Tensor

from paceline_trainer.compress.graph import INPUT
from paceline_trainer.compress.methods import QuantizeDynamic, QuantizeStatic

# Of a text model only these: what is added to attention where there is padding is -3.4e38, and no eight bits hold it beside
# scores.
TEXT_OPERATORS = ["Gather", "MatMul", "Gemm"]


def dynamic(plain: Path, target: Path, params: QuantizeDynamic) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with _quiet():
        quantize_dynamic(plain, target, per_channel=params.per_channel, weight_type=QuantType.QInt8)


def static(plain: Path, target: Path, params: QuantizeStatic, batches: Sequence[Tensor], *, texts: bool) -> None:
    """``batches`` of training inputs, which are looked at one by one: together they would hold every activation in memory."""
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    method = {
        "minmax": CalibrationMethod.MinMax,
        "entropy": CalibrationMethod.Entropy,
        "percentile": CalibrationMethod.Percentile,
    }[params.calibration]
    prepared = target.with_name(f".{target.name}.prepared")
    try:
        with _quiet():
            # Shapes for the tensors, and operators fused: else a Relu is calibrated apart from its Conv.
            quant_pre_process(str(plain), str(prepared), skip_symbolic_shape=True)
            quantize_static(
                str(prepared),
                str(target),
                _reader(batches),
                quant_format=QuantFormat.QDQ,
                per_channel=params.per_channel,
                weight_type=QuantType.QInt8,
                activation_type=QuantType.QUInt8,
                calibrate_method=method,
                op_types_to_quantize=TEXT_OPERATORS if texts else None,
                extra_options={"CalibStridedMinMax": 1},  # of every method: batches that are looked at together
            )
    finally:
        prepared.unlink(missing_ok=True)


def _reader(batches: Sequence[Tensor]) -> Any:
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._left = iter(batches)

        def __len__(self) -> int:
            return len(batches)

        def set_range(self, start_index: int, end_index: int) -> None:
            self._left = iter(batches[start_index:end_index])

        def get_next(self) -> dict[str, Any] | None:
            batch = next(self._left, None)
            return None if batch is None else {INPUT: batch.numpy()}

    return Reader()


@contextmanager
def _quiet() -> Iterator[None]:
    """Without its prints, and its advice on preprocessing, which is done where it helps."""
    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with redirect_stdout(io.StringIO()):
            yield
    finally:
        logger.setLevel(level)
