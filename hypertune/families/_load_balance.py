"""How unevenly hyperedges are selected, as a loss that can be trained.

References:
    [Lei2025] Lei et al. SoftHGNN: Soft Hypergraph Neural Networks for General Visual Recognition. IJCV 2026, arXiv
        2505.15325.
    [Fedus2022] Fedus, Zoph, Shazeer. Switch Transformers: Scaling to Trillion Parameter Models with Simple and
        Efficient Sparsity. JMLR 2022, arXiv 2101.03961.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["load_balance"]


def load_balance(scores: Tensor, chosen: Tensor) -> Tensor:
    """Return the load-balance loss of each example.

    With f_m the share of the batch's selections that hyperedge m gets and q_m the softmax of an example's scores, the
    loss of the example is ``M sum_m f_m q_m``; its mean over the batch is [Fedus2022] eq. 4. It is 1 when all
    hyperedges are selected equally often, and at most M / k. The frequencies are counts and pass no gradient: the
    gradient lowers the scores of what is selected more often than the rest. A loss on the frequencies alone, such as
    their squared distance to k / M in [Lei2025], would have none.

    Args:
        scores: ``(batch, M)``, real.
        chosen: Indices of the k selected hyperedges of each example, ``(batch, k)``.

    Returns:
        ``(batch,)``, at least single precision.
    """
    batch, hyperedges = scores.shape
    counts = torch.zeros_like(scores, dtype=torch.float32).scatter(1, chosen, 1.0).sum(dim=0)
    frequency = counts / (batch * chosen.shape[1])
    wide = torch.promote_types(scores.dtype, torch.float32)
    # A matrix product would round to the precision of autocast.
    return hyperedges * (functional.softmax(scores, dim=1, dtype=wide) * frequency).sum(dim=1)
