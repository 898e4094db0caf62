"""`python -m paceline`: the command line, for where the script is not on the PATH."""

from paceline.cli.main import app

app()
