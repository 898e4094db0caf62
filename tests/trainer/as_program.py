"""Runs a script of this folder, and ends without taking the interpreter apart, as paceline_trainer.run does and for its reasons.

usage: as_program.py SCRIPT [ARGUMENT ...]
"""

import os
import runpy
import sys

sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
sys.stdout.flush()
sys.stderr.flush()
os._exit(0)
