"""Pruners: one file = one name, as used in configs."""
