"""Users' own data: each format is read, every sample comes once an epoch, and a resume goes on with those that were left."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import datasets
import pytest
import torch
from datasets import Dataset, IterableDataset
from PIL import Image

from paceline_trainer.data import epoch_order
from paceline_trainer.datafiles.batches import Batch, Batches
from paceline_trainer.datafiles.files import DataError, read_files, read_hub
from paceline_trainer.datafiles.stream import StreamBatches

SAMPLES, BATCH, EPOCHS = 23, 4, 3  # neither divides: 6 batches, the last of 3 samples


@dataclass(frozen=True)
class Rank:
    rank: int
    size: int


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.fixture(params=["map style", "stream", "stream in the files' order"])
def batches(request, tmp_path):
    """Makes the batches of a process, over three files."""
    folder = tmp_path / "data"
    folder.mkdir()
    for number in range(3):
        lines = [json.dumps({"x": i, "name": f"n{i}"}) for i in range(number * 8, min(number * 8 + 8, SAMPLES))]
        (folder / f"{number}.jsonl").write_text("\n".join(lines), encoding="utf-8")

    def make(rank: int, size: int, seed: int = 5) -> Batches | StreamBatches:
        if request.param == "map style":
            return Batches(read_files(folder), Rank(rank, size), batch_size=BATCH, epochs=EPOCHS, seed=seed)
        rows, buffer = read_files(folder, streaming=True), 0 if "order" in request.param else 10
        return StreamBatches(rows, Rank(rank, size), batch_size=BATCH, epochs=EPOCHS, seed=seed, shuffle_buffer=buffer)

    return make


def whole(parts: list[list[Batch]]) -> list[list[int]]:
    """Of each step, the samples that count, over all ranks."""
    return [
        sorted(x for batch in step if batch.scale for x in batch.samples["x"].tolist())
        for step in zip(*parts, strict=True)
    ]


@pytest.mark.parametrize("size", [1, 2, 3])
def test_every_sample_comes_once_an_epoch_in_the_same_batches_at_any_number_of_processes(batches, size):
    parts = [list(batches(rank, size)) for rank in range(size)]
    steps = whole(parts)
    assert [len(step) for step in steps] == [4, 4, 4, 4, 4, 3] * EPOCHS
    for epoch in range(EPOCHS):
        assert sorted(x for step in steps[epoch * 6 : epoch * 6 + 6] for x in step) == list(range(SAMPLES))
    assert steps == whole([list(batches(0, 1))])
    for step, wanted in zip(zip(*parts, strict=True), steps, strict=True):
        mean = sum(batch.samples["x"].double().mean().item() * batch.scale for batch in step) / size
        assert mean == pytest.approx(sum(wanted) / len(wanted)), "DDP's average is the mean over the global batch"
        assert {batch.size for batch in step} == {len(wanted)}
    assert [batch.step for batch in parts[0]] == list(range(1, 19))


def test_a_process_without_a_sample_takes_part_with_one_that_counts_nothing(batches):
    parts = [list(batches(rank, 4)) for rank in range(4)]
    assert [parts[3][5].scale, parts[3][4].scale] == [0.0, 1.0]
    assert len(parts[3][5].samples["x"]) == 1
    assert whole(parts) == whole([list(batches(0, 1))])


@pytest.mark.parametrize("steps", [2, 6, 8, 17])
def test_a_resume_at_another_number_of_processes_goes_on_with_exactly_the_samples_that_were_left(batches, steps):
    undisturbed = whole([list(batches(0, 1))])
    first = [batches(rank, 2) for rank in range(2)]
    done = [list(islice(part, steps)) for part in first]
    saved = json.loads(json.dumps(first[1].state_dict()))
    assert saved == first[0].state_dict()
    assert (saved["step"], saved["samples"]) == (steps, sum(map(len, undisturbed[:steps])))
    rest = []
    for rank in range(3):
        resumed = batches(rank, 3)
        resumed.load_state_dict(saved)
        rest.append(list(resumed))
    assert whole(done) + whole(rest) == undisturbed
    assert rest[0][0].step == steps + 1


def test_the_order_is_of_seed_and_epoch_alone(batches):
    def rows(seed: int = 5) -> list[int]:
        return [x for batch in batches(0, 1, seed) for x in batch.samples["x"].tolist()]

    found = rows()
    assert found == rows()
    epochs = [found[i : i + SAMPLES] for i in range(0, len(found), SAMPLES)]
    if isinstance(batches(0, 1), Batches):
        assert epochs == [epoch_order(SAMPLES, 5, epoch).tolist() for epoch in range(EPOCHS)]
    elif batches(0, 1).identity()["shuffle_buffer"]:
        assert len({tuple(epoch) for epoch in [*epochs, range(SAMPLES)]}) == EPOCHS + 1
        assert found != rows(seed=6)
    else:
        assert epochs == [list(range(SAMPLES))] * EPOCHS


def test_a_stream_knows_its_length_when_the_first_epoch_has_ended(batches):
    made = batches(0, 1)
    totals = [batch.total for batch in made]
    assert totals == [18] * 18 if isinstance(made, Batches) else totals == [None] * 6 + [18] * 12
    assert (made.per_epoch, made.total) == (6, 18)


def test_each_format_is_read(tmp_path):
    wanted = {"x": torch.arange(6), "y": torch.arange(6) / 2}
    table = Dataset.from_dict({"x": list(range(6)), "y": [i / 2 for i in range(6)], "name": list("abcdef")})
    table.to_csv(tmp_path / "a.csv")
    table.to_json(tmp_path / "a.jsonl")
    table.to_json(tmp_path / "a.json")
    table.to_parquet(tmp_path / "a.parquet")
    for path in sorted(tmp_path.glob("a.*")):
        for streaming in (False, True):
            [batch] = of(read_files(path, streaming=streaming), batch_size=6, shuffled=False)
            order = epoch_order(6, 0, 0) if not streaming else torch.arange(6)
            assert torch.equal(batch.samples["x"], wanted["x"][order]), path
            assert torch.equal(batch.samples["y"], wanted["y"][order]), path
            assert batch.samples["name"] == ["abcdef"[i] for i in order], path
            [some] = of(read_files(path, ["y"], streaming=streaming), batch_size=6)
            assert list(some.samples) == ["y"]


def of(data: Dataset | IterableDataset, batch_size: int, *, shuffled: bool = True) -> list[Batch]:
    """One epoch in one process."""
    if isinstance(data, Dataset):
        return list(Batches(data, Rank(0, 1), batch_size=batch_size, epochs=1))
    buffer = 10 if shuffled else 0
    return list(StreamBatches(data, Rank(0, 1), batch_size=batch_size, epochs=1, shuffle_buffer=buffer))


def images(folder: Path, sizes: dict[str, tuple[int, int]]) -> Path:
    for number, (name, size) in enumerate(sizes.items()):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, (10 * number, 0, 255)).save(path)
    return folder


@pytest.mark.parametrize("streaming", [False, True])
def test_a_folder_of_images_has_its_subfolders_as_classes(tmp_path, streaming):
    folder = images(tmp_path / "data", {f"{kind}/{i}.png": (5, 4) for kind in ("cat", "dog") for i in range(2)})
    data = read_files(folder, streaming=streaming)
    assert data.features["label"].names == ["cat", "dog"]
    [batch] = of(data, batch_size=4)
    found, labels = batch.samples["image"], batch.samples["label"]
    assert (found.shape, found.dtype) == ((4, 3, 4, 5), torch.uint8)
    reds = found[:, 0, 0, 0].tolist()
    assert sorted(zip(reds, labels.tolist(), strict=True)) == [(0, 0), (10, 0), (20, 1), (30, 1)]
    assert found[:, 2].unique().tolist() == [255]


@pytest.mark.parametrize("streaming", [False, True])
def test_images_of_another_size_are_named_by_their_column(tmp_path, streaming):
    folder = images(tmp_path / "data", {"cat/0.png": (5, 4), "cat/1.png": (4, 4)})
    with pytest.raises(DataError, match=r"column 'image': samples differ in shape, .*\(3, 4, 4\) and \(3, 4, 5\)"):
        of(read_files(folder, streaming=streaming), batch_size=2)


@pytest.mark.parametrize("streaming", [False, True])
def test_a_value_that_is_missing_is_named_by_its_column(tmp_path, streaming):
    (tmp_path / "a.jsonl").write_text('{"x": 1, "y": "a"}\n{"x": 2, "y": null}\n', encoding="utf-8")
    with pytest.raises(DataError, match="column 'y': has no value in some rows"):
        of(read_files(tmp_path / "a.jsonl", streaming=streaming), batch_size=2)


@pytest.mark.parametrize(
    ("files", "path", "said"),
    [
        ({}, "none.csv", r"none\.csv: is not there; mount the volume"),
        ({"a.txt": "x"}, "", r"no file that can be read; there must be files that end in one of .*\.csv"),
        ({"a.csv": "x\n1\n", "b.jsonl": '{"x": 1}\n'}, "", r"several formats, such as .*a\.csv and .*b\.jsonl"),
        ({"a.csv": "x,y\n1,2\n"}, "a.csv", r"a\.csv: has no column 'z'; there are: x, y"),
        ({"a.parquet": "this is none"}, "a.parquet", r"a\.parquet: cannot be read: .*correct or remove"),
    ],
)
@pytest.mark.parametrize("streaming", [False, True])
def test_errors_name_file_or_column_and_the_cure(tmp_path, files, path, said, streaming):
    folder = tmp_path / "data"
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=said):
        read_files(folder / path, ["z"], streaming=streaming)


def test_a_stream_that_breaks_on_the_way_says_so(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"x": 1}\n' * 5, encoding="utf-8")
    data = read_files(tmp_path, streaming=True)
    (tmp_path / "a.jsonl").unlink()
    with pytest.raises(DataError, match=r"the stream: cannot be read: .*a\.jsonl"):
        of(data, batch_size=2)


def test_the_types_of_a_stream_are_those_of_its_first_rows(tmp_path):
    """Of rows 0 to 1499, where the last is no whole number."""
    lines = [json.dumps({"x": x}) for x in (*range(1499), 0.5)]
    (tmp_path / "a.jsonl").write_text("\n".join(lines[:1000]), encoding="utf-8")
    (tmp_path / "b.jsonl").write_text("\n".join(lines[1000:]), encoding="utf-8")
    data = read_files(tmp_path, streaming=True)
    assert data.features["x"].dtype == "int64"
    with pytest.raises(DataError, match=r"the stream: cannot be read: .*0\.5"):
        of(data, batch_size=500)


def test_a_stream_that_became_shorter_is_not_gone_on_with(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"x": 1}\n' * 5, encoding="utf-8")
    made = StreamBatches(read_files(tmp_path, streaming=True), Rank(0, 1), batch_size=2, epochs=2)
    made.load_state_dict({"step": 4, "epoch": 0, "batch": 4, "samples": 8})
    with pytest.raises(DataError, match="the stream has 5 rows, but 4 batches of 2 were trained on before"):
        list(made)


def test_without_any_sample_there_is_nothing_to_train_on():
    for data in (Dataset.from_dict({"x": []}), IterableDataset.from_generator(lambda: iter(()))):
        with pytest.raises(DataError, match=r"there is no (sample|row) in the"):
            of(data, batch_size=2)


@pytest.mark.parametrize("streaming", [False, True])
def test_a_hub_that_cannot_be_reached_is_told_with_ways_around_it(monkeypatch, streaming):
    for module in (datasets.config, __import__("huggingface_hub").constants):
        monkeypatch.setattr(module, "HF_HUB_OFFLINE", True)
    with pytest.raises(DataError, match=r"hub data set 'owner/name'.*cannot be reached.*read its files"):
        read_hub("owner/name", streaming=streaming)
