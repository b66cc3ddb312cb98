"""Message passing over soft hyperedges.

References:
    [Lei2025] Lei et al. SoftHGNN: Soft Hypergraph Neural Networks for General Visual Recognition. IJCV 2026, arXiv
        2505.15325.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from hypertune.auxiliary_loss import AuxiliaryLoss
from hypertune.errors import FamilyError
from hypertune.families._load_balance import load_balance
from hypertune.kernels.soft_hyperedge import soft_hyperedge

__all__ = ["SoftHyperedges"]


class SoftHyperedges(nn.Module):
    """Vertices exchange messages over hyperedges that each vertex belongs to by degree ([Lei2025]).

    With vertices X, ``(N, D)``, of one example, and M hyperedges, the equations are

    - prototypes ``P = P0 + reshape(C [mean_n X ; max_n X])``, ``(M, D)``;
    - similarity ``S = mean over heads of <Q x, p> / sqrt(D / heads)``, ``(N, M)``, with dropout;
    - participation ``A = softmax of S over the vertices``, so that a hyperedge shares itself out among them;
    - hyperedge features ``E = gelu(W_e A^T X + b_e)``, ``(M, D)``;
    - result ``X + gelu(W_v A E + b_v)``.

    They are computed in the order that is cheapest, with the same result:

    - The mean over heads of their inner products is one inner product over all of D, divided by sqrt(heads * D): the
      number of heads acts as a temperature and nothing else.
    - Q moves to the prototypes, ``<Q x, p> = <x, Q^T p>``, since there are usually fewer hyperedges than vertices, and
      W_v to the hyperedge features when there are. Q has no bias: it would add the same to a hyperedge's similarity
      with every vertex, which the softmax takes out again, and could act through dropout and selection only.
    - P0 is the bias of C.

    With ``top_k`` the prototypes are ``fixed`` ones that every example uses and ``hyperedges`` dynamic ones, of which
    it uses the ``top_k`` with the largest mean similarity to its vertices. That mean is the similarity to the mean
    vertex, so the others are dropped before anything of size N is computed for them. It is taken before dropout.

    While training with ``top_k``, a forward pass hands an auxiliary loss to the training loop that keeps the selection
    balanced, one value per example; see `load_balance`.

    Args:
        width: D, features of a vertex.
        hyperedges: Number of hyperedges; with ``top_k`` of the dynamic ones.
        heads: Divides ``width``.
        dropout: Probability to set a similarity to 0, in [0, 1).
        top_k: Dynamic hyperedges that an example uses; None: all, and no selection takes place.
        fixed: Further hyperedges that every example uses; only with ``top_k``.
        balance: Weight of the load-balance loss, at least 0; read with ``top_k`` only.

    Attributes:
        context: C with P0 as its bias, rows ordered by hyperedge, the fixed ones first.
        projection: Q^T.
        edge: W_e and b_e.
        vertex: W_v.
        vertex_bias: b_v, ``(D,)``.
        balance: Hands over the load-balance loss; None without ``top_k``.

    Raises:
        FamilyError: A size is not a whole number of its range, ``heads`` does not divide ``width``, ``top_k`` is larger
            than ``hyperedges``, or ``balance`` is negative.
    """

    def __init__(
        self,
        width: int,
        hyperedges: int,
        *,
        heads: int = 8,
        dropout: float = 0.1,
        top_k: int | None = None,
        fixed: int = 0,
        balance: float = 0.01,
    ) -> None:
        super().__init__()
        _check_sizes(width, hyperedges, heads, top_k, fixed)
        self.width, self.hyperedges, self.heads, self.top_k, self.fixed = width, hyperedges, heads, top_k, fixed
        self.context = nn.Linear(2 * width, (fixed + hyperedges) * width)
        self.projection = nn.Linear(width, width, bias=False)
        self.dropout = nn.Dropout(dropout)
        self.edge = nn.Linear(width, width)
        self.vertex = nn.Linear(width, width, bias=False)
        self.vertex_bias = nn.Parameter(torch.empty(width))
        self.balance = None if top_k is None else AuxiliaryLoss(balance)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new parameters: those of ``nn.Linear``, and Glorot uniform prototypes."""
        for layer in (self.context, self.projection, self.edge, self.vertex):
            layer.reset_parameters()
        bound = 1 / math.sqrt(self.width)
        nn.init.uniform_(self.vertex_bias, -bound, bound)
        with torch.no_grad():
            prototypes = torch.empty(self.fixed + self.hyperedges, self.width)
            self.context.bias.copy_(nn.init.xavier_uniform_(prototypes).flatten())

    def forward(self, x: Tensor) -> Tensor:
        """Map vertices ``(batch, N, width)`` to vertices of the same shape.

        Raises:
            FamilyError: The input has another shape.
        """
        if x.dim() != 3 or x.shape[2] != self.width:
            raise FamilyError(
                "not a set of vertices",
                where="family.soft_hgnn",
                given=f"a tensor of shape {tuple(x.shape)}",
                expected=f"(batch, vertices, {self.width})",
                fix="use SoftHypergraphBlock for feature maps",
            )
        prototypes, selected = self._prototypes(x)
        gathered, participation = soft_hyperedge(prototypes, x, selected, self.dropout)
        features = functional.gelu(self.edge(gathered))
        if features.shape[1] < x.shape[1]:
            messages = participation.spread(self.vertex(features))
        else:
            messages = self.vertex(participation.spread(features))
        return x + functional.gelu(messages + self.vertex_bias)

    def extra_repr(self) -> str:
        """Return the sizes, as ``print(module)`` shows them."""
        selection = "" if self.top_k is None else f", top_k={self.top_k}, fixed={self.fixed}"
        return f"width={self.width}, hyperedges={self.hyperedges}, heads={self.heads}{selection}"

    def _prototypes(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return all prototypes, projected and scaled, ``(batch, all, width)``, and which are in use; None: all."""
        mean = x.mean(dim=1)
        offsets = self.context(torch.cat((mean, x.amax(dim=1)), dim=1))
        prototypes: Tensor = self.projection(offsets.unflatten(1, (-1, self.width)))
        prototypes = prototypes / math.sqrt(self.heads * self.width)
        if self.top_k is None:
            return prototypes, None
        dynamic = prototypes[:, self.fixed :]
        scores = (dynamic @ mean[:, :, None]).squeeze(2)
        chosen = scores.topk(self.top_k, dim=1, sorted=False).indices
        if self.training and self.balance is not None:
            self.balance(load_balance(scores, chosen))
        if self.top_k == self.hyperedges:
            return prototypes, None
        always = torch.arange(self.fixed, device=x.device).expand(x.shape[0], -1)
        return prototypes, torch.cat((always, chosen + self.fixed), dim=1)


def _check_sizes(width: int, hyperedges: int, heads: int, top_k: int | None, fixed: int) -> None:
    sizes: dict[str, tuple[int, int]] = {
        "width": (width, 1),
        "hyperedges": (hyperedges, 1),
        "hyperedge_heads": (heads, 1),
        "fixed_hyperedges": (fixed, 0),
    }
    if top_k is not None:
        sizes["top_k"] = (top_k, 1)
    for name, (size, low) in sizes.items():
        if isinstance(size, bool) or not isinstance(size, int) or size < low:
            raise FamilyError(
                "not a size", where=f"family.{name}", given=size, expected=f"a whole number of at least {low}"
            )
    if width % heads:
        raise FamilyError(
            f"{heads} heads do not divide {width} features",
            where="family.hyperedge_heads",
            given=heads,
            expected=f"a divisor of {width}",
            fix="choose a width that is a multiple of every number of heads in the space",
        )
    if top_k is None and fixed:
        raise FamilyError(
            "without a selection every hyperedge is fixed",
            where="family.fixed_hyperedges",
            given=fixed,
            expected="0 without top_k",
            fix=f"use {hyperedges + fixed} hyperedges",
        )
    if top_k is not None and top_k > hyperedges:
        raise FamilyError(
            f"more hyperedges selected than the {hyperedges} dynamic ones there are",
            where="family.top_k",
            given=top_k,
            expected=f"at most {hyperedges}",
            fix="lower top_k, or raise hyperedges",
        )
