"""Activations of complex numbers that can be fused with what comes before them, in plain PyTorch.

References:
    [Trabelsi2018] Trabelsi et al. Deep Complex Networks. ICLR 2018, arXiv 1705.09792.
    [Arjovsky2016] Arjovsky, Shah, Bengio. Unitary Evolution Recurrent Neural Networks. ICML 2016, arXiv 1511.06464.
    [Virtue2017] Virtue, Yu, Lustig. Better than Real: Complex-valued Neural Nets for MRI Fingerprinting. ICIP 2017,
        arXiv 1707.00070.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["above_zero", "cardioid", "crelu", "modrelu"]


def crelu(z: Tensor) -> Tensor:
    """Return ``relu(Re z) + i relu(Im z)`` ([Trabelsi2018] eq. 5)."""
    return torch.view_as_complex(torch.view_as_real(z).relu())


def modrelu(z: Tensor, bias: Tensor) -> Tensor:
    """Return ``relu(|z| + b) z / |z|`` ([Arjovsky2016] eq. 8).

    Args:
        z: ``(batch, channels, ...)``, complex.
        bias: b, ``(channels,)``, real.
    """
    modulus = z.abs()
    return z * ((modulus + bias.reshape(-1, *(1,) * (z.dim() - 2))).relu() / above_zero(modulus))


def cardioid(z: Tensor) -> Tensor:
    """Return ``(1 + cos(arg z)) z / 2`` ([Virtue2017] eq. 3)."""
    return z * (0.5 + 0.5 * z.real / above_zero(z.abs()))


def above_zero(modulus: Tensor) -> Tensor:
    """Return a modulus that can be divided by; at 0 the quotient's factor z is 0 as well."""
    return modulus.clamp_min(torch.finfo(modulus.dtype).tiny)
