"""Figures of the study report: one file, one figure, found by its name."""
