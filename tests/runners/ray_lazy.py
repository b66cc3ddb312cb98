"""Imported by the first trial that runs, not before."""

STATE: list[int] = []
