"""Triton kernels of `hypertune.kernels.phm_weight`.

Filters are ``(N, rows, M)`` contiguous, rows = groups * R and M the columns of one block times the kernel; the weight
is ``(groups, N, R, N, M)`` contiguous. A program works on ``BLOCK`` entries of the filters, flat over rows and M, and
on the N * N entries of the weight that each of them reaches: the outer product of a column of A with the filters is
the weight's tile. So the filters are read once and the weight is written, or its gradient read, once.
"""

from __future__ import annotations

import triton
import triton.language as tl

__all__ = ["backward_kernel", "forward_kernel"]


@triton.jit
def _places(entries, pair, rows_per_group, M, N: tl.constexpr):
    """Offsets in the weight of the blocks ``pair`` = N * p + q of flat filter entries, ``(pairs, entries)``."""
    row = entries // M
    column = entries - row * M
    group = row // rows_per_group
    # (group, p, row in the group, q, column) = ((group * N + p) * R + row - group * R) * N * M + q * M + column
    start = (group * (N - 1) * rows_per_group + row) * N * M + column
    p = pair // N
    q = pair - p * N
    return start[None, :] + ((p * rows_per_group * N + q) * M)[:, None]


@triton.jit
def forward_kernel(A, F, W, size, rows_per_group, M, N: tl.constexpr, PAIRS: tl.constexpr, BLOCK: tl.constexpr):
    """``W[g, p, r, q, m] = sum_i A[i, p, q] F[i, g, r, m]``."""
    entries = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = entries < size
    pair = tl.arange(0, PAIRS)
    used = pair < N * N
    total = tl.zeros((PAIRS, BLOCK), dtype=tl.float32)
    for i in tl.static_range(N):
        rule = tl.load(A + i * N * N + pair, mask=used, other=0.0).to(tl.float32)
        filters = tl.load(F + i * size + entries, mask=inside, other=0.0).to(tl.float32)
        total += rule[:, None] * filters[None, :]
    places = _places(entries, pair, rows_per_group, M, N)
    tl.store(W + places, total.to(W.dtype.element_ty), mask=used[:, None] & inside[None, :])


@triton.jit
def backward_kernel(
    G,
    A,
    F,
    dF,
    dA,
    size,
    rows_per_group,
    M,
    blocks,
    N: tl.constexpr,
    N_PADDED: tl.constexpr,
    PAIRS: tl.constexpr,
    BLOCK: tl.constexpr,
    NEEDS_A: tl.constexpr,
    NEEDS_F: tl.constexpr,
):
    """``dF[i, e] = sum_pq A[i, p, q] G[pq, e]`` and this program's part of ``dA[i, pq] = sum_e F[i, e] G[pq, e]``.

    Each program takes ``blocks`` neighbouring blocks and writes one partial sum of dA, ``(programs, N, N * N)``: no
    atomic additions, so that the gradient is the same in every run.
    """
    pair = tl.arange(0, PAIRS)
    used = pair < N * N
    i = tl.arange(0, N_PADDED)
    place_a = i[:, None] * (N * N) + pair[None, :]
    inside_a = (i < N)[:, None] & used[None, :]
    if NEEDS_F:
        rules = tl.load(A + place_a, mask=inside_a, other=0.0).to(tl.float32)
    if NEEDS_A:
        part = tl.zeros((N_PADDED, PAIRS, BLOCK), dtype=tl.float32)
    first = tl.program_id(0) * blocks * BLOCK
    for block in range(blocks):
        entries = first + block * BLOCK + tl.arange(0, BLOCK)
        inside = entries < size
        places = _places(entries, pair, rows_per_group, M, N)
        gradient = tl.load(G + places, mask=used[:, None] & inside[None, :], other=0.0).to(tl.float32)
        place_f = i[:, None] * size + entries[None, :]
        inside_f = (i < N)[:, None] & inside[None, :]
        if NEEDS_F:
            filters_gradient = tl.sum(rules[:, :, None] * gradient[None, :, :], axis=1)
            tl.store(dF + place_f, filters_gradient.to(dF.dtype.element_ty), mask=inside_f)
        if NEEDS_A:
            filters = tl.load(F + place_f, mask=inside_f, other=0.0).to(tl.float32)
            part += filters[:, None, :] * gradient[None, :, :]
    if NEEDS_A:
        tl.store(dA + tl.program_id(0) * N * N * N + place_a, tl.sum(part, axis=2), mask=inside_a)
