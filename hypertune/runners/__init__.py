"""Runners: who executes trials; one file = one name, as used in configs."""
