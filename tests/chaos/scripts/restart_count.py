"""A script that knows only @record and TORCHELASTIC_RESTART_COUNT: it fails the first time, and ends well the second."""

import os

import torch
import torch.distributed as dist
from torch.distributed.elastic.multiprocessing.errors import record


@record
def main():
    dist.init_process_group("gloo")
    restarts = int(os.environ["TORCHELASTIC_RESTART_COUNT"])
    for step in range(5):
        dist.all_reduce(torch.ones(1))
        print(f"restart {restarts} step {step}", flush=True)
        if restarts == 0 and step == 3 and dist.get_rank() == 1:
            raise RuntimeError("once is enough")
    dist.destroy_process_group()


main()
