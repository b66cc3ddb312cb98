"""Triton kernels of `hypertune.kernels.row_dropout`.

The input is a contiguous ``(rows, inner)``; row r belongs to example ``r % examples``. Entry c of row r draws lane
``c % 4`` of Philox at counter ``r * ceil(inner / 4) + c // 4``: one run of Philox serves four neighbours, and the
numbers depend on the seed and the shape only, neither on the tile nor on the device. Grids are flat, because only their
first axis may be long.
"""

from __future__ import annotations

import triton
import triton.language as tl

__all__ = ["dropout_kernel", "noise_kernel"]


@triton.jit
def _tile(rows, inner, ROWS: tl.constexpr, COLS: tl.constexpr):
    """Offsets, mask, counters ``(ROWS, COLS / 4)`` and row numbers of this program's tile."""
    across = tl.cdiv(inner, COLS)
    down = tl.program_id(0) // across
    row = down * ROWS + tl.arange(0, ROWS)
    start = (tl.program_id(0) - down * across) * COLS
    column = start + tl.arange(0, COLS)
    inside = (row < rows)[:, None] & (column < inner)[None, :]
    counter = row[:, None] * tl.cdiv(inner, 4) + (start // 4 + tl.arange(0, COLS // 4))[None, :]
    return row[:, None] * inner + column[None, :], inside, counter, row


@triton.jit
def _interleaved(a, b, c, d, ROWS: tl.constexpr, COLS: tl.constexpr):
    """``a[0] b[0] c[0] d[0] a[1] ...`` along the columns."""
    return tl.reshape(tl.join(tl.join(a, c), tl.join(b, d)), (ROWS, COLS))


@triton.jit
def _normal_pair(u, v):
    """Two normal numbers from two uniform ones by Box and Muller's method.

    Sine and cosine of the full circle are those of an eighth of it, by Cephes' polynomials: a general sine keeps a
    table on the stack of each thread for large angles, which there are none of.
    """
    quarter = tl.floor(4.0 * v + 0.5)
    angle = (4.0 * v - quarter) * 1.5707963267948966
    square = angle * angle
    sine = ((-1.9515295891e-4 * square + 8.3321608736e-3) * square - 1.6666654611e-1) * square * angle + angle
    cosine = (2.443315711809948e-5 * square - 1.388731625493765e-3) * square + 4.166664568298827e-2
    cosine = cosine * square * square - 0.5 * square + 1.0
    turn = quarter.to(tl.int32)
    odd = (turn & 1) == 1
    x = tl.where(odd, sine, cosine)
    y = tl.where(odd, cosine, sine)
    # Over the quarters the cosine is c, -s, -c, s and the sine s, c, -s, -c.
    x = tl.where(((turn + 1) & 2) == 2, -x, x)
    y = tl.where((turn & 2) == 2, -y, y)
    radius = tl.sqrt(-2.0 * tl.log(tl.maximum(u, 1.0e-7)))
    return radius * x, radius * y


@triton.jit
def dropout_kernel(x, rates, seed, y, rows, inner, examples, ROWS: tl.constexpr, COLS: tl.constexpr):
    """``y = x / (1 - rate)`` where a uniform number reaches the rate, else 0; its own gradient with respect to x."""
    places, inside, counter, row = _tile(rows, inner, ROWS, COLS)
    rate = tl.load(rates + row % examples, mask=row < rows, other=0.0).to(tl.float32)
    u0, u1, u2, u3 = tl.rand4x(tl.load(seed), counter)
    uniform = _interleaved(u0, u1, u2, u3, ROWS, COLS)
    # At a rate of 1 nothing is kept, and nothing may be divided by 0 either.
    scale = 1.0 / tl.maximum(1.0 - rate, 1.0e-30)
    factor = tl.where(uniform >= rate[:, None], scale[:, None], 0.0)
    value = tl.load(x + places, mask=inside, other=0.0).to(tl.float32) * factor
    tl.store(y + places, value.to(y.dtype.element_ty), mask=inside)


@triton.jit
def noise_kernel(x, scales, seed, y, rows, inner, examples, ROWS: tl.constexpr, COLS: tl.constexpr):
    """``y = x + scale * n`` with standard normal n."""
    places, inside, counter, row = _tile(rows, inner, ROWS, COLS)
    scale = tl.load(scales + row % examples, mask=row < rows, other=0.0).to(tl.float32)
    u0, u1, u2, u3 = tl.rand4x(tl.load(seed), counter)
    n0, n1 = _normal_pair(u0, u1)
    n2, n3 = _normal_pair(u2, u3)
    normal = _interleaved(n0, n1, n2, n3, ROWS, COLS)
    value = tl.load(x + places, mask=inside, other=0.0).to(tl.float32) + scale[:, None] * normal
    tl.store(y + places, value.to(y.dtype.element_ty), mask=inside)
