"""Complex activations by name.

References:
    [Trabelsi2018] Trabelsi et al. Deep Complex Networks. ICLR 2018, arXiv 1705.09792.
    [Guberman2016] Guberman. On Complex Valued Convolutional Neural Networks. arXiv 1602.09046.
    [Arjovsky2016] Arjovsky, Shah, Bengio. Unitary Evolution Recurrent Neural Networks. ICML 2016, arXiv 1511.06464.
    [Virtue2017] Virtue, Yu, Lustig. Better than Real: Complex-valued Neural Nets for MRI Fingerprinting. ICIP 2017,
        arXiv 1707.00070.
    [Hirose2012] Hirose. Complex-Valued Neural Networks. Springer 2012, section 3.3.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from hypertune.errors import FamilyError, did_you_mean
from hypertune.families._complex_arithmetic import check_complex
from hypertune.kernels._complex_activation import above_zero, cardioid, crelu, modrelu

__all__ = [
    "COMPLEX_ACTIVATIONS",
    "CReLU",
    "CSigmoid",
    "CTanh",
    "Cardioid",
    "ModReLU",
    "ModTanh",
    "ZReLU",
    "complex_activation",
]


class CReLU(nn.Module):
    """``relu(Re z) + i relu(Im z)`` ([Trabelsi2018] eq. 5)."""

    def forward(self, z: Tensor) -> Tensor:
        """Map complex inputs of any shape."""
        check_complex(z, "CReLU")
        return crelu(z)


class ZReLU(nn.Module):
    """z where its phase lies in [0, pi/2], else 0 ([Guberman2016] section 3.3)."""

    def forward(self, z: Tensor) -> Tensor:
        """Map complex inputs of any shape."""
        check_complex(z, "ZReLU")
        parts = torch.view_as_real(z)
        inside = (parts >= 0).all(dim=-1, keepdim=True)
        return torch.view_as_complex(parts * inside)


class ModReLU(nn.Module):
    """``relu(|z| + b) z / |z|`` with a learned real b per channel; keeps the phase ([Arjovsky2016] eq. 8).

    Args:
        num_features: Channels, axis 1 of the input.
        start: First value of b; below 0, or the activation would start linear.
        device: Where to create the parameter.
        dtype: Real data type of b.
    """

    def __init__(
        self,
        num_features: int,
        start: float = -0.1,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.full((num_features,), start, device=device, dtype=dtype))

    def forward(self, z: Tensor) -> Tensor:
        """Map complex ``(batch, num_features, ...)``."""
        check_complex(z, "ModReLU")
        return modrelu(z, self.bias)


class Cardioid(nn.Module):
    """``(1 + cos(arg z)) z / 2``: ReLU on the real axis, damped by phase elsewhere ([Virtue2017] eq. 3)."""

    def forward(self, z: Tensor) -> Tensor:
        """Map complex inputs of any shape."""
        check_complex(z, "Cardioid")
        return cardioid(z)


class CTanh(nn.Module):
    """``tanh(Re z) + i tanh(Im z)`` ([Hirose2012])."""

    def forward(self, z: Tensor) -> Tensor:
        """Map complex inputs of any shape."""
        check_complex(z, "CTanh")
        return torch.view_as_complex(torch.view_as_real(z).tanh())


class ModTanh(nn.Module):
    """``tanh(|z|) z / |z|``; keeps the phase ([Hirose2012])."""

    def forward(self, z: Tensor) -> Tensor:
        """Map complex inputs of any shape."""
        check_complex(z, "ModTanh")
        modulus = above_zero(z.abs())
        return z * (modulus.tanh() / modulus)


class CSigmoid(nn.Module):
    """``sigmoid(Re z) + i sigmoid(Im z)``."""

    def forward(self, z: Tensor) -> Tensor:
        """Map complex inputs of any shape."""
        check_complex(z, "CSigmoid")
        return torch.view_as_complex(torch.view_as_real(z).sigmoid())


_MODULES: dict[str, Callable[[int], nn.Module]] = {
    "crelu": lambda channels: CReLU(),
    "zrelu": lambda channels: ZReLU(),
    "modrelu": ModReLU,
    "cardioid": lambda channels: Cardioid(),
    "ctanh": lambda channels: CTanh(),
    "modtanh": lambda channels: ModTanh(),
    "csigmoid": lambda channels: CSigmoid(),
}

COMPLEX_ACTIVATIONS = tuple(_MODULES)
"""Activations of complex numbers that `complex_activation` knows."""


def complex_activation(name: str, channels: int) -> nn.Module:
    """Return a new activation module for one of `COMPLEX_ACTIVATIONS`, for inputs ``(batch, channels, ...)``.

    Raises:
        FamilyError: The name is unknown.
    """
    if name not in _MODULES:
        raise FamilyError(
            "unknown activation",
            where="family.activation",
            given=name,
            expected=f"one of {', '.join(COMPLEX_ACTIVATIONS)}",
            fix=did_you_mean(name, COMPLEX_ACTIVATIONS),
        )
    return _MODULES[name](channels)
