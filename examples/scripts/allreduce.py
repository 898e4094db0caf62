"""A plain torchrun script, with nothing of Paceline in it: every process adds its rank, and all see the same sum.

torchrun --nproc-per-node 2 allreduce.py
"""

import os

import torch
import torch.distributed as dist


def main() -> None:
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    rank, size = dist.get_rank(), dist.get_world_size()
    total = torch.tensor([float(rank)])
    if torch.cuda.is_available():
        total = total.cuda(int(os.environ["LOCAL_RANK"]))
    dist.all_reduce(total)
    expected = size * (size - 1) / 2
    print(
        f"rank {rank} of {size} on {os.uname().nodename}: sum of ranks {total.item():.0f}, expected {expected:.0f}",
        flush=True,
    )
    assert total.item() == expected
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
