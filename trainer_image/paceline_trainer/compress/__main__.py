"""Converts, exports or publishes a model, in one process.

python -m paceline_trainer.compress --request '{"do": "stage", "source": "model", "input": "model", "output": "int8", \\
  "method": "quantize.dynamic"}'
"""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from typing import NoReturn

from paceline_trainer.compress.errors import CompressionError
from paceline_trainer.compress.request import Export, Publish, Stage, parsed
from paceline_trainer.params import ParamError
from paceline_trainer.termination import Termination


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="paceline_trainer.compress", description="Convert, export or publish a model."
    )
    parser.add_argument("--request", required=True, metavar="JSON", help="what to do (docs/compression.md)")
    try:
        request = parsed(parser.parse_args().request)
    except ParamError as error:
        _refuse(error)
    if os.environ.get("WORLD_SIZE", "1") != "1":
        _refuse(ParamError(f"WORLD_SIZE: a compression runs in one process, not in {os.environ['WORLD_SIZE']}"))
    Termination().install()
    from torch.distributed.elastic.multiprocessing.errors import (
        record,
    )  # torch is slow to import: not for a bad request

    from paceline_trainer.loaded import ModelError

    code = 0
    try:
        record(_done)(request)
    except (CompressionError, ModelError, ParamError) as error:
        _refuse(error)
    except Exception:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # as run.py does


def _refuse(error: ValueError) -> NoReturn:
    print(f"error: {error}", file=sys.stderr, flush=True)
    sys.exit(2)


def _done(request: Stage | Export | Publish) -> None:
    from paceline_trainer.compress.telling import Telling

    telling = Telling()
    if isinstance(request, Publish):
        from paceline_trainer.compress import publish

        publish.run(request, telling.say)
        telling.close()
    elif isinstance(request, Export):
        from paceline_trainer.compress import exports

        exports.run(request, telling)
    else:
        from paceline_trainer.compress import stage

        stage.run(request, telling)


if __name__ == "__main__":
    main()
