"""int8 by ONNX Runtime and integers by torchao say nearly what the float model says, and are smaller."""

from __future__ import annotations

import copy

import pytest
import torch
from safetensors.torch import load, save
from torch import nn

from paceline_trainer.compress import quantize, weight_only
from paceline_trainer.compress.convert import calibration
from paceline_trainer.compress.errors import CompressionError
from paceline_trainer.compress.graph import export_onnx
from paceline_trainer.compress.methods import QuantizeDynamic, QuantizeStatic
from paceline_trainer.compress.runtimes import Eager, Onnx
from paceline_trainer.compress.scores import logits, scores
from paceline_trainer.compress.weight_only import Scheme, pack, qat, restore, state, unpack
from paceline_trainer.recipes.image_classification import Cnn
from tests.trainer.compressing import PARAMS, marked, some_texts, tiny_text


@pytest.fixture(scope="module")
def plain(cnn, tmp_path_factory):
    """The CNN as FP32 ONNX."""
    path = tmp_path_factory.mktemp("onnx") / "plain.onnx"
    export_onnx(cnn, torch.rand(2, 1, 28, 28), path)
    return path


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    """The tiny text model, and the same as FP32 ONNX."""
    model, path = tiny_text(), tmp_path_factory.mktemp("texts") / "plain.onnx"
    export_onnx(model, some_texts(2), path)
    return model, path


def test_the_graph_says_what_the_module_says_for_any_batch(cnn, plain):
    for batch in (1, 2, 7):
        x = torch.rand(batch, 1, 28, 28)
        torch.testing.assert_close(Onnx(plain, 1)(x), Eager(cnn)(x), atol=1e-5, rtol=1e-4)


def test_a_graph_does_not_say_where_it_was_made(plain, texts):
    for path in (plain, texts[1]):
        assert b"stack_trace" not in path.read_bytes()


def test_of_texts_for_any_number_of_tokens(texts):
    model, path = texts
    for batch, tokens in ((1, 2), (3, 12), (5, 31)):
        ids = some_texts(batch, tokens)
        torch.testing.assert_close(Onnx(path, 1)(ids), Eager(model)(ids), atol=1e-5, rtol=1e-4)
        # The classifier itself cuts off what only padding is in: the served one need not.
        padded = nn.functional.pad(ids, (0, 9))
        torch.testing.assert_close(Onnx(path, 1)(padded), Eager(model)(ids), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("per_channel", [False, True])
def test_dynamic_is_smaller_and_nearly_as_good(cnn, digits, plain, tmp_path, per_channel):
    target = tmp_path / "int8.onnx"
    quantize.dynamic(plain, target, QuantizeDynamic(per_channel=per_channel))
    assert target.stat().st_size * 3 < plain.stat().st_size
    close(logits(Onnx(target, 1), digits.evaluation), cnn, digits)


@pytest.mark.parametrize("method", ["minmax", "entropy", "percentile"])
def test_static_is_smaller_and_nearly_as_good(cnn, digits, plain, tmp_path, method):
    target = tmp_path / "int8.onnx"
    params = QuantizeStatic(calibration=method, calibration_samples=70)
    batches = calibration(digits, 70, 0)
    assert [len(batch) for batch in batches] == [32, 32, 6]
    quantize.static(plain, target, params, batches, texts=False)
    assert target.stat().st_size * 3 < plain.stat().st_size
    close(logits(Onnx(target, 1), digits.evaluation), cnn, digits)
    assert [path.name for path in tmp_path.iterdir()] == ["int8.onnx"], "nothing else is left over"


def close(outputs, cnn, digits):
    before = scores(digits, logits(Eager(cnn), digits.evaluation))["accuracy"]
    assert before > 0.85
    assert abs(scores(digits, outputs)["accuracy"] - before) < 0.03


@pytest.mark.parametrize("method", ["minmax", "percentile"])
def test_texts_are_calibrated_with_padding_and_without(texts, tmp_path, method):
    model, path = texts
    target = tmp_path / "int8.onnx"
    batches = [some_texts(8, tokens) for tokens in (12, 7)]
    quantize.static(path, target, QuantizeStatic(calibration=method), batches, texts=True)
    ids = some_texts(6)
    assert target.stat().st_size < path.stat().st_size
    assert (Onnx(target, 1)(ids) - Eager(model)(ids)).abs().max() < 0.2 * Eager(model)(ids).abs().max()


def test_calibration_never_sees_the_evaluation_split(digits):
    batches = calibration(marked(digits), 256, seed=3)
    assert sum(map(len, batches)) == 256
    assert all(bool((batch == 1).all()) for batch in batches), "2 is what evaluation samples are made of"
    assert torch.equal(batches[0], calibration(marked(digits), 256, seed=3)[0])


SCHEMES = [
    Scheme("int8-weight"),
    Scheme("int8-weight", 32),
    Scheme("int4-weight"),
    Scheme("int4-weight", 32),
    Scheme("int8-dynamic"),
]


def test_what_a_training_was_for_is_one_of_them():
    assert qat("int8-dynamic") == Scheme("int8-dynamic")
    assert qat("int4-weight") == Scheme("int4-weight", 32)


@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda one: f"{one.name}-{one.group}")
def test_each_of_torchaos_configurations(cnn, digits, scheme):
    """Its effect, its size, and that it is the same after a file of plain tensors."""
    model, plain_bytes = copy.deepcopy(cnn), len(save(cnn.state_dict()))
    names = weight_only.quantize(model, scheme)
    assert names == ["layers.hidden.0", "layers.out"], "linear layers, and they alone"
    close(logits(Eager(model), digits.evaluation), cnn, digits)
    content = save(state(model, scheme, names))
    assert len(content) * (5 if scheme.bits == 4 else 3) < plain_bytes
    again = Cnn(PARAMS.width)
    restore(again, scheme, names, load(content))
    x = digits.evaluation.inputs[:16]
    assert torch.equal(Eager(again)(x), Eager(model)(x))


def test_weights_of_another_scheme_are_refused(cnn):
    model = copy.deepcopy(cnn)
    names = weight_only.quantize(model, Scheme("int8-weight", 32))
    saved = state(model, Scheme("int8-weight", 32), names)
    with pytest.raises(RuntimeError, match="of another shape"):
        restore(Cnn(PARAMS.width), Scheme("int8-weight"), names, saved)
    with pytest.raises(RuntimeError, match=r"no layers.hidden.0.weight.qdata"):
        restore(Cnn(PARAMS.width), Scheme("int8-weight"), names, dict(cnn.state_dict()))


def test_rows_that_groups_do_not_divide_have_one_scale():
    """As in quantization-aware training; an odd row's four bits are not packed."""
    torch.manual_seed(0)
    model, scheme = nn.Sequential(nn.Linear(64, 33), nn.Linear(33, 2)), Scheme("int4-weight", 32)
    x, again = torch.rand(4, 64), nn.Sequential(nn.Linear(64, 33), nn.Linear(33, 2))
    names = weight_only.quantize(model, scheme)
    saved = load(save(state(model, scheme, names)))
    assert saved["0.weight.scale"].shape == (33, 2)
    assert saved["1.weight.scale"].shape == (2, 1)
    assert (saved["0.weight.qdata"].dtype, saved["1.weight.qdata"].dtype) == (torch.uint8, torch.int8)
    restore(again, scheme, names, saved)
    assert torch.equal(Eager(again)(x), Eager(model)(x))


def test_a_model_without_linear_layers():
    with pytest.raises(CompressionError, match="there is no linear layer"):
        weight_only.quantize(nn.Sequential(nn.Conv2d(1, 2, 3)), Scheme("int8-weight"))


def test_four_bits_two_to_a_byte():
    values = torch.arange(-8, 8, dtype=torch.int8).reshape(2, 8)
    assert pack(values).shape == (2, 4)
    assert torch.equal(unpack(pack(values)), values)
