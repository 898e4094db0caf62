"""The bench's workloads and bounds."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter

import pytest
import yaml

from bench import compare
from bench.churn import KINDS, arrivals, grown
from bench.figures import ALL, Spread, outside, ranges, read_ranges, spreads
from bench.operator_process import OperatorProcess
from bench.wire import Wire
from bench.workloads import PODS_A_NAMESPACE, WORKLOADS
from tests.kube import ROOT


def test_a_namespace_never_has_more_pods_than_is_good_for_it():
    for work in WORKLOADS.values():
        by_namespace: dict[str, int] = {}
        for job in work.objects("x"):
            namespace = job["metadata"]["namespace"]
            by_namespace[namespace] = by_namespace.get(namespace, 0) + work.pods + 1
        assert len(by_namespace) == work.namespaces
        assert max(by_namespace.values()) <= PODS_A_NAMESPACE + work.pods + 1


def test_bounds_are_a_fifth_beyond_the_mean_to_the_worse_side():
    found = spreads([{"all pods": 1.0, "pods a second": 90.0}, {"all pods": 3.0, "pods a second": 110.0}])
    assert found["all pods"] == Spread(2.0, pytest.approx(2**0.5), 1.0, 3.0)
    bounds = ranges(found)
    assert bounds == {"all pods": {"most": 2.4}, "pods a second": {"least": 80.0}}
    assert outside(found, bounds) == []
    worse = spreads([{"all pods": 2.5, "pods a second": 79.0}])
    assert outside(worse, bounds) == ["all pods: 2.5 s is more than 2.4", "pods a second: 79 /s is less than 80"]
    assert outside(spreads([{"all pods": 1.0}]), bounds) == ["pods a second: was not measured"]


def test_what_is_zero_stays_zero():
    bounds = ranges(spreads([{"reads a job": 0.0}]))
    assert outside(spreads([{"reads a job": 0.02}]), bounds) == ["reads a job: 0.02 is more than 0"]


def test_the_bounds_that_are_kept_are_of_figures_and_workloads_that_there_are():
    for name in WORKLOADS:
        assert set(read_ranges(name)) <= set(ALL)


def test_the_same_seed_brings_the_same_jobs_and_every_kind_of_them_comes():
    some = list(itertools.islice(arrivals(3), 200))
    assert some == list(itertools.islice(arrivals(3), 200))
    assert some != list(itertools.islice(arrivals(4), 200))
    assert set(Counter(one.kind for one in some)) == set(KINDS)
    assert {one.end for one in some} == {"Succeeded", "Failed", "deleted"}
    assert len({one.job["metadata"]["name"] for one in some}) == 200


@pytest.mark.parametrize(
    ("late", "said"),
    [
        ((100.0, 20, 500), []),
        ((109.0, 21, 540), []),
        ((120.0, 20, 500), ["120 MiB of memory in the last quarter, 100 in the second"]),
        ((100.0, 30, 500), ["30 open files in the last quarter, 20 in the second"]),
    ],
)
def test_what_has_grown_is_told(late, said):
    early, start = (100.0, 20, 500), (60.0, 10, 100)
    assert grown([start] * 5 + [early] * 10 + [late] * 5) == said
    assert grown([early, late]) == [], "too short to tell"


def test_a_wire_takes_its_time_and_is_silent_while_it_is_cut(tmp_path, monkeypatch):
    async def echo(reader, writer):
        while data := await reader.read(100):
            writer.write(data.upper())
        writer.close()

    async def ask(reader, writer):
        writer.write(b"hello")
        return await asyncio.wait_for(reader.readexactly(5), 0.5)

    async def through() -> None:
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        cluster = {"server": f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"}
        (tmp_path / "admin").write_text(yaml.safe_dump({"clusters": [{"cluster": cluster}], "users": [{"user": {}}]}))
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "admin"))
        async with Wire() as wire:
            given = yaml.safe_load(wire.kubeconfig(tmp_path, "secret").read_text())
            assert given["users"][0]["user"] == {"token": "secret"}
            port = int(given["clusters"][0]["cluster"]["server"].rpartition(":")[2])
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            assert await ask(reader, writer) == b"HELLO"
            wire.delay = 0.2
            began = time.monotonic()
            assert await ask(reader, writer) == b"HELLO"
            assert time.monotonic() - began >= 0.2
            wire.delay = 0.0
            wire.cut()
            with pytest.raises(TimeoutError):
                await ask(reader, writer)
            wire.mend()
            assert await asyncio.wait_for(reader.readexactly(5), 5) == b"HELLO", "late, but not lost"
            writer.close()
        server.close()

    asyncio.run(through())


def test_versions_are_told_with_their_spread_and_as_a_ratio_to_the_first():
    found = {"v1": [{"CPU a pod": 4.0}, {"CPU a pod": 6.0}], "this checkout": [{"CPU a pod": 2.0}, {"CPU a pod": 3.0}]}
    assert list(compare.table(found)) == [
        "| figure | v1 | this checkout |",
        "| --- | --- | --- |",
        "| CPU a pod (ms) | 5 (4 to 6) | 2.5 (2 to 3, 0.50×) |",
    ]


def test_where_an_operator_ends_nothing_is_waited_for_any_longer(tmp_path):
    program = tmp_path / "operator/paceline/__main__.py"
    program.parent.mkdir(parents=True)
    program.write_text("import time\n\ntime.sleep(0.5)\n")
    ended = False

    async def work() -> None:
        nonlocal ended
        try:
            await asyncio.sleep(600)
        finally:
            ended = True

    async def lives() -> None:
        operator = OperatorProcess(tmp_path / "log", source=tmp_path)
        with pytest.raises(RuntimeError, match="has ended"):
            await operator.start()
        operator.launch()
        with pytest.raises(RuntimeError, match="has ended"):
            await operator.during(work())
        versions = compare.compare(None, {"broken": tmp_path}, WORKLOADS["two-hundred"], 1, tmp_path / "log")
        with pytest.raises(RuntimeError, match="has ended"):
            await anext(versions)

    asyncio.run(asyncio.wait_for(lives(), 60))
    assert ended, "what it was doing is put away"


def test_a_revision_is_checked_out_while_it_is_compared_and_gone_afterwards(tmp_path):
    with compare.checkouts(["HEAD"], tmp_path) as sources:
        assert (sources["HEAD"] / "operator/paceline/__main__.py").exists()
        assert sources[compare.HERE] == ROOT
        there = sources["HEAD"]
    assert not there.exists()
