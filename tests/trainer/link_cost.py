"""Bytes and seconds of a step for each way to aggregate, over links of different speed. Prints a table.

make cluster-up && python -m devcluster exec -- python -m tests.trainer.link_cost

Two processes, one in the network namespace of each of the embedded cluster's nodes, on the nodes' own virtual wires, which tc
slows down (a token bucket) and which are as they were afterwards. Bytes are what both wires sent, by their own counters.
"""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

NODES, WIRE = ("n1", "n2"), "eth0"
# Mbit/s; None is the wire as it is.
RATES = (None, 1000, 100)
WAYS: dict[str, dict[str, object]] = {
    "all-reduce (ddp)": {},
    "ddp, fp16": {"aggregation": "fp16"},
    "ddp, bf16": {"aggregation": "bf16"},
    "ddp, PowerSGD rank 1": {"aggregation": "powersgd"},
    "ddp, PowerSGD rank 4": {"aggregation": "powersgd", "powersgd_rank": 4},
    "fsdp": {"parallel": "fsdp"},
    "pipeline of two": {"pipeline_stages": 2},
    "local steps, 8": {"local_steps": 8},
    "server, one worker": {"parallel": "server"},
}
WIDTH, BATCH, WARM, STEPS, ROUNDS = 64, 64, 5, 24, 3


def measured() -> dict[str, dict[str, float]]:
    """In a process of the group: way -> bytes that this wire sent and seconds, of a step."""
    import torch

    from paceline_trainer.distributed import world as open_world
    from paceline_trainer.loop import begin, no_wishes, train
    from paceline_trainer.params import parse
    from paceline_trainer.recipes import ImageClassification
    from paceline_trainer.recipes.image_classification import ImageClassificationTask
    from paceline_trainer.server_loop import train_with_server

    found = {}
    with open_world() as world:
        for name, more in WAYS.items():
            params = parse(ImageClassification, {"width": WIDTH, "batch_size": BATCH, "profile": True, **more})
            torch.manual_seed(0)
            task = ImageClassificationTask(params)
            data, _ = task.splits()
            result = begin(task, params, world, WARM + STEPS)
            run = task, data, params, world, result
            steps = train(*run) if result.spread.link is None else train_with_server(*run, no_wishes)
            times, sent = [], 0
            for number in range(WARM + STEPS):
                if number == WARM:
                    sent, times = bytes_sent(), []
                began = time.monotonic()
                next(steps)
                times.append(time.monotonic() - began)
            both = float(world.sum(torch.tensor(float(bytes_sent() - sent), dtype=torch.float64)))
            middle = statistics.fmean if params.local_steps > 1 else statistics.median  # few of its steps send anything
            found[name] = {"bytes": both / STEPS, "seconds": middle(times)}
    return found


def bytes_sent() -> int:
    line = next(line for line in Path("/proc/net/dev").read_text().splitlines() if f"{WIRE}:" in line)
    return int(line.split(":")[1].split()[8])


@contextlib.contextmanager
def slowed(rate: int | None) -> Iterator[None]:
    """Both wires send at most so many Mbit/s."""
    if rate is None:
        yield
        return
    bucket = ["tbf", "rate", f"{rate}mbit", "burst", "256kb", "latency", "50ms"]
    try:
        for node in NODES:
            tc(node, "replace", "dev", WIRE, "root", *bucket)
        yield
    finally:
        for node in NODES:
            tc(node, "delete", "dev", WIRE, "root")


def tc(node: str, *arguments: str) -> None:
    subprocess.run(["ip", "netns", "exec", node, "tc", "qdisc", *arguments], check=True)


def run_group() -> dict[str, dict[str, float]]:
    address = json.loads(
        subprocess.run(
            ["ip", "-n", NODES[0], "-j", "addr", "show", WIRE], check=True, capture_output=True, text=True
        ).stdout
    )[0]["addr_info"][0]["local"]
    group = {"MASTER_ADDR": address, "MASTER_PORT": "29555", "WORLD_SIZE": "2", "GLOO_SOCKET_IFNAME": WIRE}
    environ = {**os.environ, **group, "OMP_NUM_THREADS": "1", "PYTHONPATH": "trainer_image:."}
    processes = [
        subprocess.Popen(
            ["ip", "netns", "exec", node, sys.executable, "-m", "tests.trainer.link_cost", "worker"],
            env={**environ, "RANK": str(rank)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank, node in enumerate(NODES)
    ]
    said = [process.communicate()[0] for process in processes]
    assert all(process.returncode == 0 for process in processes)
    found: dict[str, dict[str, float]] = json.loads(said[0].splitlines()[-1])
    return found


def main() -> None:
    if sys.argv[1:] == ["worker"]:
        print(json.dumps(measured()), flush=True)
        return
    rows: dict[str, list[str]] = {name: [name] for name in WAYS}
    for rate in RATES:
        with slowed(rate):
            rounds = [run_group() for _ in range(ROUNDS)]
        for name in WAYS:
            seconds = [one[name]["seconds"] for one in rounds]
            if rate is None:
                rows[name].append(f"{statistics.median(one[name]['bytes'] for one in rounds) / 1e6:.2f}")
            rows[name].append(
                f"{1000 * statistics.median(seconds):.0f} ({1000 * min(seconds):.0f} to {1000 * max(seconds):.0f})"
            )
    print("| way | MB a step, both directions | ms a step, unlimited | 1 Gbit/s | 100 Mbit/s |")
    print("| --- | --- | --- | --- | --- |")
    for row in rows.values():
        print(f"| {' | '.join(row)} |")


if __name__ == "__main__":
    main()
