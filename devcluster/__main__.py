"""`python -m devcluster`."""

from devcluster.cli import app

app()
