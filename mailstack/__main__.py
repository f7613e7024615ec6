"""`python -m mailstack` is `mailstack`."""

from .cli import main

main(prog_name="mailstack")
