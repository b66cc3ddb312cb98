"""Triton kernels of `hypertune.kernels.response_linear`.

All matrices are contiguous. Row r of the inputs belongs to example ``(r // inner) % groups``. Offsets of rows are
64-bit, so that more than 2**31 entries are addressed rightly; inside a tile 32 bits are enough.
"""

from __future__ import annotations

import triton
import triton.language as tl

__all__ = ["forward_kernel", "gate_gradient_kernel", "input_gradient_kernel", "weight_gradient_kernel"]


@triton.jit
def _gates(gate, group, column, outputs, mask):
    """Load one number per row's example and output unit, in single precision."""
    where = group.to(tl.int64)[:, None] * outputs + column[None, :]
    return tl.load(gate + where, mask=mask, other=0.0).to(tl.float32)


@triton.jit
def forward_kernel(
    x,
    weight,
    direction,
    bias,
    bias_direction,
    gate,
    bias_gate,
    y,
    product,
    rows,
    inputs,
    outputs,
    inner,
    groups,
    LEARNED: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    HAS_BIAS_DIRECTION: tl.constexpr,
    HAS_BIAS_GATE: tl.constexpr,
    KEEP: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_R: tl.constexpr,
    BLOCK_O: tl.constexpr,
    BLOCK_I: tl.constexpr,
):
    """``y = x W' + b + gate * (x V') + bias_gate * c``: a tile of x is read once for both products."""
    blocks = tl.cdiv(outputs, BLOCK_O)
    block_r = tl.program_id(0) // blocks
    block_o = tl.program_id(0) % blocks
    row = block_r * BLOCK_R + tl.arange(0, BLOCK_R)
    column = block_o * BLOCK_O + tl.arange(0, BLOCK_O)
    entry = tl.arange(0, BLOCK_I)
    x_tile = x + row.to(tl.int64)[:, None] * inputs + entry[None, :]
    # Weights are read as (inputs, outputs), transposed by the addresses.
    of_weight = column.to(tl.int64)[None, :] * inputs + entry[:, None]
    weight_tile = weight + of_weight
    direction_tile = direction + of_weight
    plain = tl.zeros((BLOCK_R, BLOCK_O), tl.float32)
    moved = tl.zeros((BLOCK_R, BLOCK_O), tl.float32)
    for start in range(0, inputs, BLOCK_I):
        inside = entry < inputs - start
        a = tl.load(x_tile, mask=(row < rows)[:, None] & inside[None, :], other=0.0)
        of_columns = inside[:, None] & (column < outputs)[None, :]
        plain = tl.dot(a, tl.load(weight_tile, mask=of_columns, other=0.0), plain, input_precision=PRECISION)
        if LEARNED:
            moved = tl.dot(a, tl.load(direction_tile, mask=of_columns, other=0.0), moved, input_precision=PRECISION)
            direction_tile += BLOCK_I
        x_tile += BLOCK_I
        weight_tile += BLOCK_I
    if not LEARNED:
        moved = plain
    mask = (row < rows)[:, None] & (column < outputs)[None, :]
    group = (row // inner) % groups
    made = plain + _gates(gate, group, column, outputs, mask) * moved
    if HAS_BIAS:
        made += tl.load(bias + column, mask=column < outputs, other=0.0).to(tl.float32)[None, :]
    if HAS_BIAS_GATE:
        shift = _gates(bias_gate, group, column, outputs, mask)
        if HAS_BIAS_DIRECTION:
            shift *= tl.load(bias_direction + column, mask=column < outputs, other=0.0).to(tl.float32)[None, :]
        made += shift
    out = row.to(tl.int64)[:, None] * outputs + column[None, :]
    tl.store(y + out, made.to(y.dtype.element_ty), mask=mask)
    if KEEP:
        tl.store(product + out, moved.to(product.dtype.element_ty), mask=mask)


@triton.jit
def input_gradient_kernel(
    gradient,
    weight,
    direction,
    gate,
    to_x,
    rows,
    inputs,
    outputs,
    inner,
    groups,
    LEARNED: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_R: tl.constexpr,
    BLOCK_O: tl.constexpr,
    BLOCK_I: tl.constexpr,
):
    """``dx = dy W + (gate * dy) V``: a tile of dy is read once for both products, and the gated one is never stored."""
    blocks = tl.cdiv(inputs, BLOCK_I)
    block_r = tl.program_id(0) // blocks
    block_i = tl.program_id(0) % blocks
    row = block_r * BLOCK_R + tl.arange(0, BLOCK_R)
    entry = block_i * BLOCK_I + tl.arange(0, BLOCK_I)
    column = tl.arange(0, BLOCK_O)
    group = (row // inner) % groups
    gradient_tile = gradient + row.to(tl.int64)[:, None] * outputs + column[None, :]
    gate_tile = gate + group.to(tl.int64)[:, None] * outputs + column[None, :]
    of_weight = column.to(tl.int64)[:, None] * inputs + entry[None, :]
    weight_tile = weight + of_weight
    direction_tile = direction + of_weight
    made = tl.zeros((BLOCK_R, BLOCK_I), tl.float32)
    for start in range(0, outputs, BLOCK_O):
        inside = column < outputs - start
        mask = (row < rows)[:, None] & inside[None, :]
        g = tl.load(gradient_tile, mask=mask, other=0.0)
        gates = tl.load(gate_tile, mask=mask, other=0.0).to(tl.float32)
        of_columns = inside[:, None] & (entry < inputs)[None, :]
        w = tl.load(weight_tile, mask=of_columns, other=0.0)
        if LEARNED:
            made = tl.dot(g, w, made, input_precision=PRECISION)
            gated = (g.to(tl.float32) * gates).to(g.dtype)
            v = tl.load(direction_tile, mask=of_columns, other=0.0)
            made = tl.dot(gated, v, made, input_precision=PRECISION)
            direction_tile += BLOCK_O * inputs
        else:
            gated = (g.to(tl.float32) * (1 + gates)).to(g.dtype)
            made = tl.dot(gated, w, made, input_precision=PRECISION)
        gradient_tile += BLOCK_O
        gate_tile += BLOCK_O
        weight_tile += BLOCK_O * inputs
    out = row.to(tl.int64)[:, None] * inputs + entry[None, :]
    tl.store(to_x + out, made.to(to_x.dtype.element_ty), mask=(row < rows)[:, None] & (entry < inputs)[None, :])


@triton.jit
def weight_gradient_kernel(
    gradient,
    x,
    gate,
    to_weight,
    to_direction,
    rows,
    inputs,
    outputs,
    inner,
    groups,
    rows_per_split,
    LEARNED: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_R: tl.constexpr,
    BLOCK_O: tl.constexpr,
    BLOCK_I: tl.constexpr,
):
    """``dW = dy' x`` and ``dV = (gate * dy)' x`` over a part of the rows, ``(splits, outputs, inputs)``.

    Parts are added up outside, in a fixed order, so that the same inputs give the same gradients.
    """
    blocks = tl.cdiv(inputs, BLOCK_I)
    block_o = tl.program_id(0) // blocks
    block_i = tl.program_id(0) % blocks
    split = tl.program_id(1)
    column = block_o * BLOCK_O + tl.arange(0, BLOCK_O)
    entry = block_i * BLOCK_I + tl.arange(0, BLOCK_I)
    first = split * rows_per_split
    last = tl.minimum(first + rows_per_split, rows)
    plain = tl.zeros((BLOCK_O, BLOCK_I), tl.float32)
    moved = tl.zeros((BLOCK_O, BLOCK_I), tl.float32)
    for start in range(first, last, BLOCK_R):
        row = start + tl.arange(0, BLOCK_R)
        mask = (row < last)[:, None] & (column < outputs)[None, :]
        g = tl.load(gradient + row.to(tl.int64)[:, None] * outputs + column[None, :], mask=mask, other=0.0)
        gates = _gates(gate, (row // inner) % groups, column, outputs, mask)
        of_x = (row < last)[:, None] & (entry < inputs)[None, :]
        a = tl.load(x + row.to(tl.int64)[:, None] * inputs + entry[None, :], mask=of_x, other=0.0)
        if LEARNED:
            plain = tl.dot(tl.trans(g), a, plain, input_precision=PRECISION)
            gated = (g.to(tl.float32) * gates).to(g.dtype)
            moved = tl.dot(tl.trans(gated), a, moved, input_precision=PRECISION)
        else:
            gated = (g.to(tl.float32) * (1 + gates)).to(g.dtype)
            plain = tl.dot(tl.trans(gated), a, plain, input_precision=PRECISION)
    out = split.to(tl.int64) * outputs * inputs + column.to(tl.int64)[:, None] * inputs + entry[None, :]
    mask = (column < outputs)[:, None] & (entry < inputs)[None, :]
    tl.store(to_weight + out, plain.to(to_weight.dtype.element_ty), mask=mask)
    if LEARNED:
        tl.store(to_direction + out, moved.to(to_direction.dtype.element_ty), mask=mask)


@triton.jit
def gate_gradient_kernel(
    gradient,
    product,
    to_gate,
    sums,
    outputs,
    inner,
    groups,
    members,
    members_per_split,
    WANT_GATE: tl.constexpr,
    WANT_SUMS: tl.constexpr,
    BLOCK_G: tl.constexpr,
    BLOCK_O: tl.constexpr,
):
    """Sums over the rows of each example: of dy, and of dy times the product that the gate multiplies.

    Both ``(splits, groups, outputs)`` in single precision. An example has ``members`` rows, in runs of ``inner``.
    """
    blocks = tl.cdiv(outputs, BLOCK_O)
    block_g = tl.program_id(0) // blocks
    block_o = tl.program_id(0) % blocks
    split = tl.program_id(1)
    group = block_g * BLOCK_G + tl.arange(0, BLOCK_G)
    column = block_o * BLOCK_O + tl.arange(0, BLOCK_O)
    mask = (group < groups)[:, None] & (column < outputs)[None, :]
    of_gate = tl.zeros((BLOCK_G, BLOCK_O), tl.float32)
    of_sum = tl.zeros((BLOCK_G, BLOCK_O), tl.float32)
    first = split * members_per_split
    for member in range(first, tl.minimum(first + members_per_split, members)):
        row = (member // inner).to(tl.int64) * groups * inner + group.to(tl.int64) * inner + member % inner
        where = row[:, None] * outputs + column[None, :]
        g = tl.load(gradient + where, mask=mask, other=0.0).to(tl.float32)
        of_sum += g
        if WANT_GATE:
            of_gate += g * tl.load(product + where, mask=mask, other=0.0).to(tl.float32)
    out = (split.to(tl.int64) * groups + group.to(tl.int64))[:, None] * outputs + column[None, :]
    if WANT_GATE:
        tl.store(to_gate + out, of_gate, mask=mask)
    if WANT_SUMS:
        tl.store(sums + out, of_sum, mask=mask)
