"""Shared by all tests: one thread each, quiet libraries, configs that train nothing heavy."""

from __future__ import annotations

import os

# Read when torch and BLAS are first imported, so before anything else.
for _variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import optuna  # noqa: E402

optuna.logging.set_verbosity(optuna.logging.ERROR)
