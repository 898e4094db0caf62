"""A script that fails: one process raises, and torchrun's @record keeps its traceback for the job's status."""

import os

from torch.distributed.elastic.multiprocessing.errors import record


@record
def main() -> None:
    if os.environ["RANK"] == "1":
        raise ValueError("the learning rate must be positive")


if __name__ == "__main__":
    main()
