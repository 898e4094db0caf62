"""Load on a server: so many connections, each of which asks again as soon as it is answered (a closed loop). Every answer is
checked. Without torch: it is there to measure another process, not to use up the machine.

python -m paceline_trainer.compress.client --port 8080 --batches batches.npz --seconds 10 --tolerance 0.001
"""

from __future__ import annotations

import argparse
import http.client
import io
import json
import threading
import time
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

CONNECTIONS = 2
TIMEOUT_SECONDS = 60.0
HEADERS = {"Content-Type": "application/x-npy"}


@dataclass
class Found:
    """``milliseconds`` of each right answer; ``errors``: of what went wrong."""

    milliseconds: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


def asked(port: int, bodies: list[bytes], answers: NDArray[np.float32], until: float, tolerance: float) -> Found:
    """Of one connection, until ``until`` on the monotonic clock; it ends with the first wrong answer."""
    found = Found()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_SECONDS)
    try:
        number = 0
        while (began := time.monotonic()) < until:
            which = number % len(bodies)
            connection.request("POST", "/", bodies[which], HEADERS)
            response = connection.getresponse()
            content = response.read()
            found.milliseconds.append(1000 * (time.monotonic() - began))
            if response.status != 200:
                found.errors.append(f"{response.status}: {content[:200].decode(errors='replace')}")
                break
            difference = np.abs(np.load(io.BytesIO(content), allow_pickle=False) - answers[which]).max()
            if not difference <= tolerance:
                found.errors.append(f"an answer is off by {difference:.2g}")
                break
            number += 1
    except (OSError, http.client.HTTPException, ValueError) as error:
        found.errors.append(str(error) or type(error).__name__)
    finally:
        connection.close()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="paceline_trainer.compress.client", description="Put load on a server.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--batches", required=True, help=".npz: inputs (N, B, …) and their logits (N, B, classes)")
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--tolerance", type=float, required=True)
    args = parser.parse_args()
    with np.load(args.batches, allow_pickle=False) as batches:
        inputs, answers = batches["inputs"], batches["answers"]
    bodies = []
    for one in inputs:
        buffer = io.BytesIO()
        np.save(buffer, one, allow_pickle=False)
        bodies.append(buffer.getvalue())
    began = time.monotonic()
    until = began + args.seconds
    parts: list[Found] = []

    def ask() -> None:
        parts.append(asked(args.port, bodies, answers, until, args.tolerance))

    threads = [threading.Thread(target=ask) for _ in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    milliseconds = [one for part in parts for one in part.milliseconds]
    errors = [error for part in parts for error in part.errors]
    print(json.dumps({"seconds": time.monotonic() - began, "milliseconds": milliseconds, "errors": errors}))


if __name__ == "__main__":
    main()
