"""How matrix products of float32 use the matrix units."""

from __future__ import annotations

import os

import torch
from torch import Tensor

__all__ = ["input_precision", "precision"]


def precision(dtype: torch.dtype, *, backend: str, capability: int, setting: str) -> str:
    """Return the name Triton has for the precision of a product's inputs.

    Args:
        dtype: Of the inputs; half precision is multiplied as it is.
        backend: ``cuda`` or ``hip``; anything else: Triton's interpreter.
        capability: Major compute capability, on CUDA.
        setting: As `torch.get_float32_matmul_precision` says. Below ``highest``: the inputs are rounded to TF32, as
            torch does. ``highest`` splits each input into two TF32 numbers where there are such units, which keeps
            the error of float32 and, in three products on matrix units, is faster than plain multiplications; AMD's
            matrix units multiply float32 itself.
    """
    if dtype != torch.float32 or backend not in ("cuda", "hip"):
        return "ieee"
    if backend == "hip" or capability < 8:
        return "ieee"
    return "tf32x3" if setting == "highest" else "tf32"


def input_precision(x: Tensor) -> str:
    """Return `precision` for products of a tensor on its device."""
    if os.environ.get("TRITON_INTERPRET") == "1" or not x.is_cuda:
        return "ieee"
    backend = "hip" if torch.version.hip else "cuda"
    capability = torch.cuda.get_device_capability(x.device)[0]
    return precision(x.dtype, backend=backend, capability=capability, setting=torch.get_float32_matmul_precision())
