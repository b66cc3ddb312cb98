"""``python -m hypertune``."""

from hypertune.cli import main

main()
