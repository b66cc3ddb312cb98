"""Samplers and pruners: one file = one name, as used in configs."""
