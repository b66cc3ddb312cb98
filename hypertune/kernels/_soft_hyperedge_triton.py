"""Triton kernels of `hypertune.kernels.soft_hyperedge`.

Vertices x ``(batch, N, D)`` and prototypes p ``(batch, all, D)``, contiguous. A program holds one block of hyperedges
and passes over the vertices, or the other way round; of the participations ``(M, N)`` only one tile exists at a time,
and each kernel computes those it needs again from similarities and the logarithm of their softmax's denominator.

Hyperedge m of an example is its prototype ``selected[m]``: only those are read. A similarity that dropout sets to 0
takes part in the softmax as 0. Whether it does is a random number of (seed, example, m, vertex), whatever the blocks
are. Rows ``example * M + m`` and random counters are 32-bit numbers, which the caller checks; offsets of entries are
64-bit.

References:
    [Milakov2018] Milakov, Gimelshein. Online normalizer calculation for softmax. arXiv 1805.02867.
    [Dao2022] Dao et al. FlashAttention: Fast and Memory-Efficient Exact Attention with IO-Awareness. NeurIPS 2022,
        arXiv 2205.14135.
"""

from __future__ import annotations

import triton
import triton.language as tl

__all__ = [
    "gather_hyperedge_gradient_kernel",
    "gather_kernel",
    "gather_vertex_gradient_kernel",
    "spread_hyperedge_gradient_kernel",
    "spread_kernel",
    "spread_vertex_gradient_kernel",
]


@triton.jit
def _rows(base, row, there, width, BLOCK_D: tl.constexpr):
    """Load rows of a matrix, ``(rows, BLOCK_D)``; 0 where there is none."""
    column = tl.arange(0, BLOCK_D)
    where = row.to(tl.int64)[:, None] * width + column[None, :]
    return tl.load(base + where, mask=there[:, None] & (column < width)[None, :], other=0.0)


@triton.jit
def _store_rows(base, row, there, width, values, BLOCK_D: tl.constexpr):
    column = tl.arange(0, BLOCK_D)
    where = row.to(tl.int64)[:, None] * width + column[None, :]
    tl.store(base + where, values.to(base.dtype.element_ty), mask=there[:, None] & (column < width)[None, :])


@triton.jit
def _prototype_rows(selected, example, m, used, all_prototypes, SELECTED: tl.constexpr):
    """Return the rows of an example's hyperedges among all prototypes."""
    index = m
    if SELECTED:
        index = tl.load(selected + example.to(tl.int64) * used + m, mask=m < used, other=0)
    return example.to(tl.int64) * all_prototypes + index


@triton.jit
def _kept(seed, rate, row, n_start, vertices, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr):
    """Whether similarities are kept, ``(BLOCK_M, BLOCK_N)``; four neighbours in a row share a counter."""
    counter = row[:, None] * tl.cdiv(vertices, 4) + n_start // 4 + tl.arange(0, BLOCK_N // 4)[None, :]
    u0, u1, u2, u3 = tl.rand4x(tl.load(seed), counter)
    pairs = tl.join(tl.join(u0, u2), tl.join(u1, u3))
    return tl.reshape(pairs, (BLOCK_M, BLOCK_N)) >= rate


@triton.jit
def _similarities(
    p,
    x,
    row,
    n_start,
    vertices,
    seed,
    rate,
    scale,
    DROPOUT: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
):
    """Return similarities after dropout ``(BLOCK_M, BLOCK_N)``, and their derivative by what they were before."""
    made = tl.dot(p, tl.trans(x), input_precision=PRECISION)
    factor = tl.full((BLOCK_M, BLOCK_N), 1.0, tl.float32)
    if DROPOUT:
        kept = _kept(seed, rate, row, n_start, vertices, BLOCK_M, BLOCK_N)
        factor = tl.where(kept, scale, 0.0)
        made = tl.where(kept, made * scale, 0.0)
    return made, factor


@triton.jit
def _participations(
    p,
    x,
    log_normalizer,
    row,
    n_start,
    vertices,
    seed,
    rate,
    scale,
    DROPOUT: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
):
    """Return participations ``(BLOCK_M, BLOCK_N)``, 0 where there is none, and as `_similarities`."""
    made, factor = _similarities(p, x, row, n_start, vertices, seed, rate, scale, DROPOUT, PRECISION, BLOCK_M, BLOCK_N)
    there = n_start + tl.arange(0, BLOCK_N) < vertices
    return tl.where(there[None, :], tl.exp(made - log_normalizer[:, None]), 0.0), factor


@triton.jit
def gather_kernel(
    prototypes,
    selected,
    x,
    features,
    log_normalizer,
    used,
    all_prototypes,
    vertices,
    width,
    seed,
    rate,
    scale,
    SELECTED: tl.constexpr,
    DROPOUT: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """``F_m = sum_n a_mn x_n`` with a running maximum and sum of the softmax ([Milakov2018], [Dao2022])."""
    example = tl.program_id(0)
    m = tl.program_id(1) * BLOCK_M + tl.arange(0, BLOCK_M)
    row = _prototype_rows(selected, example, m, used, all_prototypes, SELECTED)
    out = example * used + m
    p = _rows(prototypes, row, m < used, width, BLOCK_D)
    largest = tl.full((BLOCK_M,), float("-inf"), tl.float32)
    total = tl.zeros((BLOCK_M,), tl.float32)
    made = tl.zeros((BLOCK_M, BLOCK_D), tl.float32)
    for start in range(0, vertices, BLOCK_N):
        n = start + tl.arange(0, BLOCK_N)
        of_x = example.to(tl.int64) * vertices + n
        tile = _rows(x, of_x, n < vertices, width, BLOCK_D)
        s, _ = _similarities(p, tile, out, start, vertices, seed, rate, scale, DROPOUT, PRECISION, BLOCK_M, BLOCK_N)
        s = tl.where((n < vertices)[None, :], s, float("-inf"))
        now = tl.maximum(largest, tl.max(s, axis=1))
        a = tl.exp(s - now[:, None])
        shrink = tl.exp(largest - now)
        total = total * shrink + tl.sum(a, axis=1)
        made = tl.dot(a.to(tile.dtype), tile, made * shrink[:, None], input_precision=PRECISION)
        largest = now
    _store_rows(features, out, m < used, width, made / total[:, None], BLOCK_D)
    tl.store(log_normalizer + out, largest + tl.log(total), mask=m < used)


@triton.jit
def gather_hyperedge_gradient_kernel(
    prototypes,
    selected,
    x,
    gradient,
    log_normalizer,
    offset,
    to_prototypes,
    used,
    all_prototypes,
    vertices,
    width,
    seed,
    rate,
    scale,
    SELECTED: tl.constexpr,
    DROPOUT: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """``dp_m = sum_n ds_mn x_n`` with ``ds = a (<dF_m, x_n> - offset_m)``."""
    example = tl.program_id(0)
    m = tl.program_id(1) * BLOCK_M + tl.arange(0, BLOCK_M)
    row = _prototype_rows(selected, example, m, used, all_prototypes, SELECTED)
    out = example * used + m
    p = _rows(prototypes, row, m < used, width, BLOCK_D)
    g = _rows(gradient, out, m < used, width, BLOCK_D)
    log_total = tl.load(log_normalizer + out, mask=m < used, other=float("inf"))
    moved = tl.load(offset + out, mask=m < used, other=0.0)
    made = tl.zeros((BLOCK_M, BLOCK_D), tl.float32)
    for start in range(0, vertices, BLOCK_N):
        n = start + tl.arange(0, BLOCK_N)
        tile = _rows(x, example.to(tl.int64) * vertices + n, n < vertices, width, BLOCK_D)
        a, factor = _participations(
            p, tile, log_total, out, start, vertices, seed, rate, scale, DROPOUT, PRECISION, BLOCK_M, BLOCK_N
        )
        s = a * (tl.dot(g, tl.trans(tile), input_precision=PRECISION) - moved[:, None]) * factor
        made = tl.dot(s.to(tile.dtype), tile, made, input_precision=PRECISION)
    _store_rows(to_prototypes, row, m < used, width, made, BLOCK_D)


@triton.jit
def gather_vertex_gradient_kernel(
    prototypes,
    selected,
    x,
    gradient,
    log_normalizer,
    offset,
    to_x,
    used,
    all_prototypes,
    vertices,
    width,
    seed,
    rate,
    scale,
    SELECTED: tl.constexpr,
    DROPOUT: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """``dx_n = sum_m a_mn dF_m + ds_mn p_m``, with ds as in `gather_hyperedge_gradient_kernel`."""
    example = tl.program_id(0)
    first = tl.program_id(1) * BLOCK_N
    n = first + tl.arange(0, BLOCK_N)
    of_x = example.to(tl.int64) * vertices + n
    tile = _rows(x, of_x, n < vertices, width, BLOCK_D)
    made = tl.zeros((BLOCK_N, BLOCK_D), tl.float32)
    for start in range(0, used, BLOCK_M):
        m = start + tl.arange(0, BLOCK_M)
        row = _prototype_rows(selected, example, m, used, all_prototypes, SELECTED)
        out = example * used + m
        p = _rows(prototypes, row, m < used, width, BLOCK_D)
        g = _rows(gradient, out, m < used, width, BLOCK_D)
        log_total = tl.load(log_normalizer + out, mask=m < used, other=float("inf"))
        moved = tl.load(offset + out, mask=m < used, other=0.0)
        a, factor = _participations(
            p, tile, log_total, out, first, vertices, seed, rate, scale, DROPOUT, PRECISION, BLOCK_M, BLOCK_N
        )
        s = a * (tl.dot(g, tl.trans(tile), input_precision=PRECISION) - moved[:, None]) * factor
        made = tl.dot(tl.trans(a.to(g.dtype)), g, made, input_precision=PRECISION)
        made = tl.dot(tl.trans(s.to(p.dtype)), p, made, input_precision=PRECISION)
    _store_rows(to_x, of_x, n < vertices, width, made, BLOCK_D)


@triton.jit
def spread_kernel(
    prototypes,
    selected,
    x,
    values,
    log_normalizer,
    messages,
    used,
    all_prototypes,
    vertices,
    width,
    seed,
    rate,
    scale,
    SELECTED: tl.constexpr,
    DROPOUT: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """``messages_n = sum_m a_mn values_m``."""
    example = tl.program_id(0)
    first = tl.program_id(1) * BLOCK_N
    n = first + tl.arange(0, BLOCK_N)
    of_x = example.to(tl.int64) * vertices + n
    tile = _rows(x, of_x, n < vertices, width, BLOCK_D)
    made = tl.zeros((BLOCK_N, BLOCK_D), tl.float32)
    for start in range(0, used, BLOCK_M):
        m = start + tl.arange(0, BLOCK_M)
        row = _prototype_rows(selected, example, m, used, all_prototypes, SELECTED)
        out = example * used + m
        p = _rows(prototypes, row, m < used, width, BLOCK_D)
        v = _rows(values, out, m < used, width, BLOCK_D)
        log_total = tl.load(log_normalizer + out, mask=m < used, other=float("inf"))
        a, _ = _participations(
            p, tile, log_total, out, first, vertices, seed, rate, scale, DROPOUT, PRECISION, BLOCK_M, BLOCK_N
        )
        made = tl.dot(tl.trans(a.to(v.dtype)), v, made, input_precision=PRECISION)
    _store_rows(messages, of_x, n < vertices, width, made, BLOCK_D)


@triton.jit
def spread_hyperedge_gradient_kernel(
    prototypes,
    selected,
    x,
    values,
    log_normalizer,
    gradient,
    to_prototypes,
    to_values,
    to_log_normalizer,
    used,
    all_prototypes,
    vertices,
    width,
    seed,
    rate,
    scale,
    SELECTED: tl.constexpr,
    DROPOUT: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """``dv_m = sum_n a_mn dZ_n``; ``dp_m = sum_n ds_mn x_n`` with ``ds = a <v_m, dZ_n>``, whose sum is -dlse_m."""
    example = tl.program_id(0)
    m = tl.program_id(1) * BLOCK_M + tl.arange(0, BLOCK_M)
    row = _prototype_rows(selected, example, m, used, all_prototypes, SELECTED)
    out = example * used + m
    p = _rows(prototypes, row, m < used, width, BLOCK_D)
    v = _rows(values, out, m < used, width, BLOCK_D)
    log_total = tl.load(log_normalizer + out, mask=m < used, other=float("inf"))
    of_p = tl.zeros((BLOCK_M, BLOCK_D), tl.float32)
    of_v = tl.zeros((BLOCK_M, BLOCK_D), tl.float32)
    of_log = tl.zeros((BLOCK_M,), tl.float32)
    for start in range(0, vertices, BLOCK_N):
        n = start + tl.arange(0, BLOCK_N)
        of_x = example.to(tl.int64) * vertices + n
        tile = _rows(x, of_x, n < vertices, width, BLOCK_D)
        g = _rows(gradient, of_x, n < vertices, width, BLOCK_D)
        a, factor = _participations(
            p, tile, log_total, out, start, vertices, seed, rate, scale, DROPOUT, PRECISION, BLOCK_M, BLOCK_N
        )
        of_v = tl.dot(a.to(g.dtype), g, of_v, input_precision=PRECISION)
        s = a * tl.dot(v, tl.trans(g), input_precision=PRECISION)
        of_log -= tl.sum(s, axis=1)
        of_p = tl.dot((s * factor).to(tile.dtype), tile, of_p, input_precision=PRECISION)
    _store_rows(to_prototypes, row, m < used, width, of_p, BLOCK_D)
    _store_rows(to_values, out, m < used, width, of_v, BLOCK_D)
    tl.store(to_log_normalizer + out, of_log, mask=m < used)


@triton.jit
def spread_vertex_gradient_kernel(
    prototypes,
    selected,
    x,
    values,
    log_normalizer,
    gradient,
    to_x,
    used,
    all_prototypes,
    vertices,
    width,
    seed,
    rate,
    scale,
    SELECTED: tl.constexpr,
    DROPOUT: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """``dx_n = sum_m ds_mn p_m``, with ds as in `spread_hyperedge_gradient_kernel`."""
    example = tl.program_id(0)
    first = tl.program_id(1) * BLOCK_N
    n = first + tl.arange(0, BLOCK_N)
    of_x = example.to(tl.int64) * vertices + n
    tile = _rows(x, of_x, n < vertices, width, BLOCK_D)
    g = _rows(gradient, of_x, n < vertices, width, BLOCK_D)
    made = tl.zeros((BLOCK_N, BLOCK_D), tl.float32)
    for start in range(0, used, BLOCK_M):
        m = start + tl.arange(0, BLOCK_M)
        row = _prototype_rows(selected, example, m, used, all_prototypes, SELECTED)
        out = example * used + m
        p = _rows(prototypes, row, m < used, width, BLOCK_D)
        v = _rows(values, out, m < used, width, BLOCK_D)
        log_total = tl.load(log_normalizer + out, mask=m < used, other=float("inf"))
        a, factor = _participations(
            p, tile, log_total, out, first, vertices, seed, rate, scale, DROPOUT, PRECISION, BLOCK_M, BLOCK_N
        )
        s = a * tl.dot(v, tl.trans(g), input_precision=PRECISION) * factor
        made = tl.dot(tl.trans(s.to(p.dtype)), p, made, input_precision=PRECISION)
    _store_rows(to_x, of_x, n < vertices, width, made, BLOCK_D)
