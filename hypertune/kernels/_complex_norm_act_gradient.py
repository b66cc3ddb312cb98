"""The gradient of `hypertune.kernels.complex_norm_act` written out in PyTorch operators, for where its kernels fail.

References:
    [Trabelsi2018] Trabelsi et al. Deep Complex Networks. ICLR 2018, arXiv 1705.09792.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hypertune.kernels._complex_activation import above_zero

__all__ = ["gradients"]


def gradients(
    gradient: Tensor,
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    activation_bias: Tensor | None,
    statistics: Tensor,
    activation: str,
    eps: float,
) -> list[Tensor]:
    """Return the gradients of x, weight, bias and activation bias, the last one empty where there is none.

    Args:
        gradient: That of the result, ``(batch, channels, space)``, complex.
        x: As ``gradient``.
        weight: Gamma, ``(channels, 3)``.
        bias: beta, ``(channels,)``, complex.
        activation_bias: b of modReLU, ``(channels,)``, or None.
        statistics: Means r, i and covariances rr, ii, ri, ``(channels, 5)``.
        activation: One of `FUSED_ACTIVATIONS`.
        eps: Added to the variances.
    """
    columns = statistics.unsqueeze(2).unbind(1)
    real, imag = x.real - columns[0], x.imag - columns[1]
    rr, ii, ri = columns[2] + eps, columns[3] + eps, columns[4]
    floor = eps * (rr + ii - eps)
    s = torch.maximum(rr * ii - ri * ri, floor).sqrt()
    k = 1 / (s * (rr + ii + 2 * s).sqrt())
    w_rr, w_ii, w_ri = (ii + s) * k, (rr + s) * k, -ri * k
    g_rr, g_ii, g_ri = weight.unsqueeze(2).unbind(1)
    a, b = g_rr * w_rr + g_ri * w_ri, g_rr * w_ri + g_ri * w_ii
    c, d = g_ri * w_rr + g_ii * w_ri, g_ri * w_ri + g_ii * w_ii
    shift = bias.unsqueeze(1)
    g_r, g_i, of_shift = _before_activation(
        a * real + b * imag + shift.real, c * real + d * imag + shift.imag, gradient, activation_bias, activation
    )

    def total(values: Tensor) -> Tensor:
        return values.sum(dim=(0, 2)).unsqueeze(1)

    total_r, total_i = total(g_r), total(g_i)
    s_rr, s_ri, s_ir, s_ii = total(g_r * real), total(g_r * imag), total(g_i * real), total(g_i * imag)
    to_weight = torch.cat(
        (
            s_rr * w_rr + s_ri * w_ri,
            s_ir * w_ri + s_ii * w_ii,
            s_rr * w_ri + s_ri * w_ii + s_ir * w_rr + s_ii * w_ri,
        ),
        dim=1,
    )
    # The whitening matrix is k adj(V + s I); what flows to its entries flows to those of the covariance.
    p_rr, p_ii = g_rr * s_rr + g_ri * s_ir, g_ri * s_ri + g_ii * s_ii
    p_ri = g_rr * s_ri + g_ri * s_ii + g_ri * s_rr + g_ii * s_ir
    along = k * ((ii + s) * p_rr + (rr + s) * p_ii - ri * p_ri)
    per_trace = along / (2 * (rr + ii + 2 * s))
    of_determinant = (k * (p_rr + p_ii) - along / s - 2 * per_trace) / (2 * s)
    free = rr * ii - ri * ri > floor
    number = x.numel() // x.shape[1]
    v_rr = (k * p_ii - per_trace + of_determinant * torch.where(free, ii, eps)) * (2 / number)
    v_ii = (k * p_rr - per_trace + of_determinant * torch.where(free, rr, eps)) * (2 / number)
    v_ri = (-k * p_ri + of_determinant * torch.where(free, -2 * ri, 0.0)) / number
    g_r, g_i = g_r - total_r / number, g_i - total_i / number
    to_x = torch.complex(
        a * g_r + c * g_i + (v_rr * real + v_ri * imag), b * g_r + d * g_i + (v_ri * real + v_ii * imag)
    )
    to_shift = weight.new_empty(0) if activation_bias is None else total(of_shift).squeeze(1)
    return [to_x, to_weight, torch.complex(total_r, total_i).squeeze(1), to_shift]


def _before_activation(
    real: Tensor, imag: Tensor, gradient: Tensor, activation_bias: Tensor | None, activation: str
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the two parts of the gradient before the activation, and what each entry adds to modReLU's bias's."""
    g_r, g_i = gradient.real, gradient.imag
    if activation == "crelu":
        return torch.where(real > 0, g_r, 0.0), torch.where(imag > 0, g_i, 0.0), g_r
    if activation == "none":
        return g_r, g_i, g_r
    modulus = above_zero(torch.hypot(real, imag))
    u_r, u_i = real / modulus, imag / modulus
    along = u_r * g_r + u_i * g_i
    if activation_bias is None:  # the cardioid
        factor, turned = 0.5 + 0.5 * u_r, -0.5 * u_i * along
        return factor * g_r - turned * u_i, factor * g_i + turned * u_r, g_r
    bias = activation_bias.unsqueeze(1)
    on = modulus + bias > 0
    across = (1 + bias / modulus) * (u_r * g_i - u_i * g_r)
    return (
        torch.where(on, along * u_r - across * u_i, 0.0),
        torch.where(on, along * u_i + across * u_r, 0.0),
        torch.where(on, along, 0.0),
    )
