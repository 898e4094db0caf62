"""One program, many ways to fail: rank 1 does what it is told, the others merely notice."""

import os
import signal
import sys
from datetime import timedelta

import torch
import torch.distributed as dist
from torch.distributed.elastic.multiprocessing.errors import record

FAULT = sys.argv[1]


def fail() -> None:
    match FAULT:
        case "raise" | "raise-unrecorded":
            raise ValueError("the learning rate must be positive")
        case "import":
            import no_such_module  # noqa: F401
        case "nan":
            raise FloatingPointError("loss is nan at step 3")
        case "disk":
            raise OSError(28, "No space left on device", "/data/out.bin")
        case "exit":
            sys.exit(3)
        case "segv":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "abort":
            os.abort()
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "device-memory":
            raise torch.OutOfMemoryError(
                "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 1 has a total capacity of 79.15 GiB"
            )
        case "host-memory":
            blocks = []
            while True:
                blocks.append(bytearray(b"x") * 2**26)
        case "ecc":
            raise RuntimeError("CUDA error: uncorrectable ECC error encountered")
        case "hang":
            signal.pause()


def main() -> None:
    # It is the time that peers have to come, too.
    dist.init_process_group("gloo", timeout=timedelta(seconds=10 if FAULT == "hang" else 600))
    if dist.get_rank() == 1:
        fail()
    dist.all_reduce(torch.ones(1))
    dist.barrier()


if __name__ == "__main__":
    (main if FAULT == "raise-unrecorded" else record(main))()
