"""Triton kernels of `hypertune.kernels.complex_norm_act`.

Complex numbers are interleaved pairs of float32, ``(batch, channels, space, 2)`` contiguous. A program works on tiles
of ``BLOCK_B`` examples times ``BLOCK_S`` numbers of one channel, so that neighbouring threads read neighbouring
addresses whether a channel has one number per example or a whole image. Rows of examples are addressed by 64-bit
offsets.

References:
    [Trabelsi2018] Trabelsi et al. Deep Complex Networks. ICLR 2018, arXiv 1705.09792.
    [Chan1983] Chan, Golub, LeVeque. Algorithms for Computing the Sample Variance. The American Statistician 37, 1983.
"""

from __future__ import annotations

import triton
import triton.language as tl

__all__ = [
    "CARDIOID",
    "CRELU",
    "MODRELU",
    "NONE",
    "gradient_kernel",
    "gradient_sums_kernel",
    "normalize_kernel",
    "statistics_kernel",
]

NONE = tl.constexpr(0)
CRELU = tl.constexpr(1)
MODRELU = tl.constexpr(2)
CARDIOID = tl.constexpr(3)

_TINY = tl.constexpr(1.1754943508222875e-38)


@triton.jit
def _tile(tile, column_blocks, channel, channels, batch, space, BLOCK_B: tl.constexpr, BLOCK_S: tl.constexpr):
    """Return the offsets of the floats of a tile, ``(BLOCK_B, 2 * BLOCK_S)``, and which of them exist."""
    example = (tile // column_blocks) * BLOCK_B + tl.arange(0, BLOCK_B)
    entry = (tile % column_blocks) * (2 * BLOCK_S) + tl.arange(0, 2 * BLOCK_S)
    row = (example.to(tl.int64) * channels + channel) * (2 * space)
    return row[:, None] + entry[None, :], (example < batch)[:, None] & (entry < 2 * space)[None, :]


@triton.jit
def _parts(pairs, BLOCK_B: tl.constexpr, BLOCK_S: tl.constexpr):
    return tl.split(tl.reshape(pairs, (BLOCK_B, BLOCK_S, 2)))


@triton.jit
def _sum(values):
    return tl.sum(tl.sum(values, axis=1), axis=0)


@triton.jit
def statistics_kernel(
    x,
    partial,
    channels,
    batch,
    space,
    tiles_per_split,
    BLOCK_B: tl.constexpr,
    BLOCK_S: tl.constexpr,
):
    """Count, means and centred second moments of a part of a channel, ``(channels, splits, 6)``.

    Each tile is centred by its own mean and merged by [Chan1983] eq. 2.1: sums of squares would lose all digits of a
    channel whose mean is large against its spread.
    """
    channel = tl.program_id(0)
    split = tl.program_id(1)
    column_blocks = tl.cdiv(space, BLOCK_S)
    tiles = tl.cdiv(batch, BLOCK_B) * column_blocks
    first = split * tiles_per_split
    count = 0.0
    mean_r = 0.0
    mean_i = 0.0
    rr = 0.0
    ii = 0.0
    ri = 0.0
    for tile in range(first, tl.minimum(first + tiles_per_split, tiles)):
        offsets, mask = _tile(tile, column_blocks, channel, channels, batch, space, BLOCK_B, BLOCK_S)
        real, imag = _parts(tl.load(x + offsets, mask=mask, other=0.0), BLOCK_B, BLOCK_S)
        rows = tl.minimum(batch - (tile // column_blocks) * BLOCK_B, BLOCK_B)
        columns = tl.minimum(space - (tile % column_blocks) * BLOCK_S, BLOCK_S)
        inside = (tl.arange(0, BLOCK_B) < rows)[:, None] & (tl.arange(0, BLOCK_S) < columns)[None, :]
        new = (rows * columns).to(tl.float32)
        tile_r = _sum(real) / new
        tile_i = _sum(imag) / new
        real = tl.where(inside, real - tile_r, 0.0)
        imag = tl.where(inside, imag - tile_i, 0.0)
        total = count + new
        shift_r = tile_r - mean_r
        shift_i = tile_i - mean_i
        weight = count * (new / total)
        rr += _sum(real * real) + shift_r * shift_r * weight
        ii += _sum(imag * imag) + shift_i * shift_i * weight
        ri += _sum(real * imag) + shift_r * shift_i * weight
        mean_r += shift_r * (new / total)
        mean_i += shift_i * (new / total)
        count = total
    out = partial + (channel * tl.num_programs(1) + split) * 6
    tl.store(out, count)
    tl.store(out + 1, mean_r)
    tl.store(out + 2, mean_i)
    tl.store(out + 3, rr)
    tl.store(out + 4, ii)
    tl.store(out + 5, ri)


@triton.jit
def _merged(partial, channel, splits, SPLITS: tl.constexpr):
    """Return mean and covariance of a channel from its parts."""
    split = tl.arange(0, SPLITS)
    there = split < splits
    part = partial + (channel * splits + split) * 6
    count = tl.load(part, mask=there, other=0.0)
    means_r = tl.load(part + 1, mask=there, other=0.0)
    means_i = tl.load(part + 2, mask=there, other=0.0)
    total = tl.sum(count, axis=0)
    share = count / total
    mean_r = tl.sum(share * means_r, axis=0)
    mean_i = tl.sum(share * means_i, axis=0)
    shift_r = means_r - mean_r
    shift_i = means_i - mean_i
    rr = tl.sum(tl.load(part + 3, mask=there, other=0.0) / total + share * shift_r * shift_r, axis=0)
    ii = tl.sum(tl.load(part + 4, mask=there, other=0.0) / total + share * shift_i * shift_i, axis=0)
    ri = tl.sum(tl.load(part + 5, mask=there, other=0.0) / total + share * shift_r * shift_i, axis=0)
    return mean_r, mean_i, rr, ii, ri


@triton.jit
def _whitening(rr, ii, ri, eps):
    """Return s, 1 / (s t) and the entries rr, ii, ri of ``(V + eps I)**(-1/2)`` ([Trabelsi2018] appendix A.1)."""
    real = rr + eps
    imag = ii + eps
    s = tl.sqrt(tl.maximum(real * imag - ri * ri, eps * (real + imag - eps)))
    k = 1.0 / (s * tl.sqrt(real + imag + 2.0 * s))
    return s, k, (imag + s) * k, (real + s) * k, -ri * k


@triton.jit
def _affine(weight, channel, w_rr, w_ii, w_ri):
    """Return Gamma, then the four entries of ``Gamma W``."""
    g_rr = tl.load(weight + 3 * channel)
    g_ii = tl.load(weight + 3 * channel + 1)
    g_ri = tl.load(weight + 3 * channel + 2)
    a = g_rr * w_rr + g_ri * w_ri
    b = g_rr * w_ri + g_ri * w_ii
    c = g_ri * w_rr + g_ii * w_ri
    d = g_ri * w_ri + g_ii * w_ii
    return g_rr, g_ii, g_ri, a, b, c, d


@triton.jit
def _modulus(real, imag):
    """Return ``|z|``, scaled so that squares neither overflow nor vanish, and at least the smallest normal number."""
    large = tl.maximum(tl.maximum(tl.abs(real), tl.abs(imag)), _TINY)
    r = real / large
    i = imag / large
    return tl.maximum(large * tl.sqrt(r * r + i * i), _TINY)


@triton.jit
def _activated(real, imag, shift, ACTIVATION: tl.constexpr):
    if ACTIVATION == CRELU:
        # Not a maximum, which would turn a NaN into 0.
        real = tl.where(real < 0.0, 0.0, real)
        imag = tl.where(imag < 0.0, 0.0, imag)
    elif ACTIVATION == MODRELU:
        modulus = _modulus(real, imag)
        factor = tl.where(modulus + shift < 0.0, 0.0, modulus + shift) / modulus
        real = real * factor
        imag = imag * factor
    elif ACTIVATION == CARDIOID:
        factor = 0.5 + 0.5 * (real / _modulus(real, imag))
        real = real * factor
        imag = imag * factor
    return real, imag


@triton.jit
def _activation_gradient(real, imag, g_r, g_i, shift, ACTIVATION: tl.constexpr):
    """Return the gradient before the activation, and what modReLU's bias gets of it.

    With u = z / |z|: modReLU is ``(|z| + b) u``, whose derivative stretches along u by 1 and across it by
    ``1 + b / |z|``; the cardioid is z times ``f = (1 + Re u) / 2``, and ``df = -Im u (u x dz) / (2 |z|)``.
    """
    of_shift = tl.zeros_like(real)
    if ACTIVATION == CRELU:
        g_r = tl.where(real > 0.0, g_r, 0.0)
        g_i = tl.where(imag > 0.0, g_i, 0.0)
    elif ACTIVATION == MODRELU:
        modulus = _modulus(real, imag)
        u_r = real / modulus
        u_i = imag / modulus
        on = modulus + shift > 0.0
        along = u_r * g_r + u_i * g_i
        across = (1.0 + shift / modulus) * (u_r * g_i - u_i * g_r)
        of_shift = tl.where(on, along, 0.0)
        g_r = tl.where(on, along * u_r - across * u_i, 0.0)
        g_i = tl.where(on, along * u_i + across * u_r, 0.0)
    elif ACTIVATION == CARDIOID:
        modulus = _modulus(real, imag)
        u_r = real / modulus
        u_i = imag / modulus
        factor = 0.5 + 0.5 * u_r
        turned = -0.5 * u_i * (u_r * g_r + u_i * g_i)
        g_r = factor * g_r - turned * u_i
        g_i = factor * g_i + turned * u_r
    return g_r, g_i, of_shift


@triton.jit
def normalize_kernel(
    x,
    partial,
    weight,
    bias,
    activation_bias,
    y,
    statistics,
    channels,
    batch,
    space,
    splits,
    tiles_per_split,
    eps,
    ACTIVATION: tl.constexpr,
    SPLITS: tl.constexpr,
    BLOCK_B: tl.constexpr,
    BLOCK_S: tl.constexpr,
):
    """``act(Gamma W (x - mean) + beta)``; merges the parts of the statistics, and stores mean and covariance."""
    channel = tl.program_id(0)
    mean_r, mean_i, rr, ii, ri = _merged(partial, channel, splits, SPLITS)
    if tl.program_id(1) == 0:
        out = statistics + channel * 5
        tl.store(out, mean_r)
        tl.store(out + 1, mean_i)
        tl.store(out + 2, rr)
        tl.store(out + 3, ii)
        tl.store(out + 4, ri)
    _, _, w_rr, w_ii, w_ri = _whitening(rr, ii, ri, eps)
    _, _, _, a, b, c, d = _affine(weight, channel, w_rr, w_ii, w_ri)
    bias_r = tl.load(bias + 2 * channel)
    bias_i = tl.load(bias + 2 * channel + 1)
    shift = 0.0
    if ACTIVATION == MODRELU:
        shift = tl.load(activation_bias + channel)
    column_blocks = tl.cdiv(space, BLOCK_S)
    tiles = tl.cdiv(batch, BLOCK_B) * column_blocks
    first = tl.program_id(1) * tiles_per_split
    for tile in range(first, tl.minimum(first + tiles_per_split, tiles)):
        offsets, mask = _tile(tile, column_blocks, channel, channels, batch, space, BLOCK_B, BLOCK_S)
        real, imag = _parts(tl.load(x + offsets, mask=mask, other=0.0), BLOCK_B, BLOCK_S)
        real -= mean_r
        imag -= mean_i
        made_r, made_i = _activated(a * real + b * imag + bias_r, c * real + d * imag + bias_i, shift, ACTIVATION)
        tl.store(y + offsets, tl.reshape(tl.join(made_r, made_i), (BLOCK_B, 2 * BLOCK_S)), mask=mask)


@triton.jit
def gradient_sums_kernel(
    x,
    gradient,
    statistics,
    weight,
    bias,
    activation_bias,
    partial,
    channels,
    batch,
    space,
    tiles_per_split,
    eps,
    ACTIVATION: tl.constexpr,
    BLOCK_B: tl.constexpr,
    BLOCK_S: tl.constexpr,
):
    """Sums over a part of a channel, ``(channels, splits, 7)``: of g (2), of ``g x'`` (4), and modReLU's bias's.

    g is the gradient before the activation; the value it is taken at is computed again from x.
    """
    channel = tl.program_id(0)
    split = tl.program_id(1)
    mean_r = tl.load(statistics + 5 * channel)
    mean_i = tl.load(statistics + 5 * channel + 1)
    rr = tl.load(statistics + 5 * channel + 2)
    ii = tl.load(statistics + 5 * channel + 3)
    ri = tl.load(statistics + 5 * channel + 4)
    _, _, w_rr, w_ii, w_ri = _whitening(rr, ii, ri, eps)
    _, _, _, a, b, c, d = _affine(weight, channel, w_rr, w_ii, w_ri)
    bias_r = tl.load(bias + 2 * channel)
    bias_i = tl.load(bias + 2 * channel + 1)
    shift = 0.0
    if ACTIVATION == MODRELU:
        shift = tl.load(activation_bias + channel)
    total_r = tl.zeros((BLOCK_B, BLOCK_S), tl.float32)
    total_i = tl.zeros((BLOCK_B, BLOCK_S), tl.float32)
    against_rr = tl.zeros((BLOCK_B, BLOCK_S), tl.float32)
    against_ri = tl.zeros((BLOCK_B, BLOCK_S), tl.float32)
    against_ir = tl.zeros((BLOCK_B, BLOCK_S), tl.float32)
    against_ii = tl.zeros((BLOCK_B, BLOCK_S), tl.float32)
    of_shift = tl.zeros((BLOCK_B, BLOCK_S), tl.float32)
    column_blocks = tl.cdiv(space, BLOCK_S)
    tiles = tl.cdiv(batch, BLOCK_B) * column_blocks
    first = split * tiles_per_split
    for tile in range(first, tl.minimum(first + tiles_per_split, tiles)):
        offsets, mask = _tile(tile, column_blocks, channel, channels, batch, space, BLOCK_B, BLOCK_S)
        real, imag = _parts(tl.load(x + offsets, mask=mask, other=0.0), BLOCK_B, BLOCK_S)
        # Outside of the data the gradient is 0, and with it everything that is summed.
        g_r, g_i = _parts(tl.load(gradient + offsets, mask=mask, other=0.0), BLOCK_B, BLOCK_S)
        real -= mean_r
        imag -= mean_i
        g_r, g_i, g_shift = _activation_gradient(
            a * real + b * imag + bias_r, c * real + d * imag + bias_i, g_r, g_i, shift, ACTIVATION
        )
        total_r += g_r
        total_i += g_i
        against_rr += g_r * real
        against_ri += g_r * imag
        against_ir += g_i * real
        against_ii += g_i * imag
        if ACTIVATION == MODRELU:
            of_shift += g_shift
    out = partial + (channel * tl.num_programs(1) + split) * 7
    tl.store(out, _sum(total_r))
    tl.store(out + 1, _sum(total_i))
    tl.store(out + 2, _sum(against_rr))
    tl.store(out + 3, _sum(against_ri))
    tl.store(out + 4, _sum(against_ir))
    tl.store(out + 5, _sum(against_ii))
    tl.store(out + 6, _sum(of_shift))


@triton.jit
def _covariance_gradient(p_rr, p_ii, p_ri, rr, ii, ri, s, k, eps):
    """Return the gradient of the covariance's entries rr, ii and ri, given that of the whitening matrix's.

    Differentiates ``W = k adj(V + s I)`` with ``s = sqrt(det V)``, ``k = 1 / (s t)`` and ``t = sqrt(trace V + 2 s)``.
    """
    real = rr + eps
    imag = ii + eps
    along = k * ((imag + s) * p_rr + (real + s) * p_ii - ri * p_ri)
    per_trace = along / (2.0 * (real + imag + 2.0 * s))
    of_s = k * (p_rr + p_ii) - along / s - 2.0 * per_trace
    of_determinant = of_s / (2.0 * s)
    floor = eps * (real + imag - eps)
    # Where the determinant is held at its floor, it depends on the trace only.
    free = real * imag - ri * ri > floor
    by_real = tl.where(free, imag, eps)
    by_imag = tl.where(free, real, eps)
    by_cross = tl.where(free, -2.0 * ri, 0.0)
    return (
        k * p_ii - per_trace + of_determinant * by_real,
        k * p_rr - per_trace + of_determinant * by_imag,
        -k * p_ri + of_determinant * by_cross,
    )


@triton.jit
def gradient_kernel(
    x,
    gradient,
    statistics,
    partial,
    weight,
    bias,
    activation_bias,
    to_x,
    to_weight,
    to_bias,
    to_activation_bias,
    channels,
    batch,
    space,
    splits,
    tiles_per_split,
    eps,
    ACTIVATION: tl.constexpr,
    SPLITS: tl.constexpr,
    BLOCK_B: tl.constexpr,
    BLOCK_S: tl.constexpr,
):
    """``dx = W Gamma (g - mean g) + (dV + dV') (x - mean) / n``; one program stores a channel's other gradients."""
    channel = tl.program_id(0)
    mean_r = tl.load(statistics + 5 * channel)
    mean_i = tl.load(statistics + 5 * channel + 1)
    rr = tl.load(statistics + 5 * channel + 2)
    ii = tl.load(statistics + 5 * channel + 3)
    ri = tl.load(statistics + 5 * channel + 4)
    s, k, w_rr, w_ii, w_ri = _whitening(rr, ii, ri, eps)
    g_rr, g_ii, g_ri, a, b, c, d = _affine(weight, channel, w_rr, w_ii, w_ri)
    bias_r = tl.load(bias + 2 * channel)
    bias_i = tl.load(bias + 2 * channel + 1)
    shift = 0.0
    if ACTIVATION == MODRELU:
        shift = tl.load(activation_bias + channel)
    split = tl.arange(0, SPLITS)
    there = split < splits
    part = partial + (channel * splits + split) * 7
    total_r = tl.sum(tl.load(part, mask=there, other=0.0), axis=0)
    total_i = tl.sum(tl.load(part + 1, mask=there, other=0.0), axis=0)
    s_rr = tl.sum(tl.load(part + 2, mask=there, other=0.0), axis=0)
    s_ri = tl.sum(tl.load(part + 3, mask=there, other=0.0), axis=0)
    s_ir = tl.sum(tl.load(part + 4, mask=there, other=0.0), axis=0)
    s_ii = tl.sum(tl.load(part + 5, mask=there, other=0.0), axis=0)
    if tl.program_id(1) == 0:
        # Gamma's gradient is sum g (W x)': W is symmetric.
        tl.store(to_weight + 3 * channel, s_rr * w_rr + s_ri * w_ri)
        tl.store(to_weight + 3 * channel + 1, s_ir * w_ri + s_ii * w_ii)
        tl.store(to_weight + 3 * channel + 2, s_rr * w_ri + s_ri * w_ii + s_ir * w_rr + s_ii * w_ri)
        tl.store(to_bias + 2 * channel, total_r)
        tl.store(to_bias + 2 * channel + 1, total_i)
        if ACTIVATION == MODRELU:
            tl.store(to_activation_bias + channel, tl.sum(tl.load(part + 6, mask=there, other=0.0), axis=0))
    number = 1.0 * batch * space
    p_rr = g_rr * s_rr + g_ri * s_ir
    p_ii = g_ri * s_ri + g_ii * s_ii
    p_ri = g_rr * s_ri + g_ri * s_ii + g_ri * s_rr + g_ii * s_ir
    v_rr, v_ii, v_ri = _covariance_gradient(p_rr, p_ii, p_ri, rr, ii, ri, s, k, eps)
    v_rr *= 2.0 / number
    v_ii *= 2.0 / number
    v_ri *= 1.0 / number
    mean_gradient_r = total_r / number
    mean_gradient_i = total_i / number
    column_blocks = tl.cdiv(space, BLOCK_S)
    tiles = tl.cdiv(batch, BLOCK_B) * column_blocks
    first = tl.program_id(1) * tiles_per_split
    for tile in range(first, tl.minimum(first + tiles_per_split, tiles)):
        offsets, mask = _tile(tile, column_blocks, channel, channels, batch, space, BLOCK_B, BLOCK_S)
        real, imag = _parts(tl.load(x + offsets, mask=mask, other=0.0), BLOCK_B, BLOCK_S)
        g_r, g_i = _parts(tl.load(gradient + offsets, mask=mask, other=0.0), BLOCK_B, BLOCK_S)
        real -= mean_r
        imag -= mean_i
        g_r, g_i, _ = _activation_gradient(
            a * real + b * imag + bias_r, c * real + d * imag + bias_i, g_r, g_i, shift, ACTIVATION
        )
        g_r -= mean_gradient_r
        g_i -= mean_gradient_i
        # Back through Gamma W, transposed, and through the statistics.
        made_r = a * g_r + c * g_i + (v_rr * real + v_ri * imag)
        made_i = b * g_r + d * g_i + (v_ri * real + v_ii * imag)
        tl.store(to_x + offsets, tl.reshape(tl.join(made_r, made_i), (BLOCK_B, 2 * BLOCK_S)), mask=mask)
