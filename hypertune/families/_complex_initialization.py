"""Initial complex weights: Rayleigh modulus and uniform phase, or semi-unitary.

References:
    [Trabelsi2018] Trabelsi et al. Deep Complex Networks. ICLR 2018, arXiv 1705.09792.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from hypertune.errors import FamilyError, did_you_mean

__all__ = ["COMPLEX_INITIALIZATIONS", "complex_init_"]

COMPLEX_INITIALIZATIONS = ("he", "glorot", "unitary")
"""Names that `complex_init_` knows."""


@torch.no_grad()
def complex_init_(weight: Tensor, name: str, *, fan_in: int, fan_out: int) -> Tensor:
    """Draw a complex weight ([Trabelsi2018] section 3.6).

    The modulus has a Rayleigh distribution of mode sigma and the phase is uniform, which is a circular complex normal
    variable with ``E|w|^2 = 2 sigma^2``:

    - ``he``: sigma = 1/sqrt(fan_in);
    - ``glorot``: sigma = 1/sqrt(fan_in + fan_out);
    - ``unitary``: a random matrix ``(out, everything else)`` with orthonormal rows or columns, scaled to the variance
      of ``he``, so that the layer starts without near-copies among its filters.

    Args:
        weight: ``(out, ...)``, complex; changed in place.
        name: One of `COMPLEX_INITIALIZATIONS`.
        fan_in: Inputs of one output.
        fan_out: Outputs of one input.

    Raises:
        FamilyError: The name is unknown.
    """
    if name not in COMPLEX_INITIALIZATIONS:
        raise FamilyError(
            "unknown initialization",
            where="family.init",
            given=name,
            expected=f"one of {', '.join(COMPLEX_INITIALIZATIONS)}",
            fix=did_you_mean(name, COMPLEX_INITIALIZATIONS),
        )
    variance = 2 / (fan_in + fan_out) if name == "glorot" else 2 / fan_in
    if name != "unitary":
        return weight.normal_(0, math.sqrt(variance))
    rows = weight.shape[0]
    columns = weight.numel() // rows
    # torch.nn.init.orthogonal_ takes the sign of the diagonal, which complex numbers have none of.
    tall = torch.empty(max(rows, columns), min(rows, columns), dtype=weight.dtype, device=weight.device).normal_()
    q, r = torch.linalg.qr(tall)
    diagonal = r.diagonal()
    q = q * (diagonal / diagonal.abs())  # then it is distributed evenly over all such matrices
    matrix = q if rows >= columns else q.mT
    return weight.copy_(matrix.reshape(weight.shape)).mul_(math.sqrt(variance * max(rows, columns)))
