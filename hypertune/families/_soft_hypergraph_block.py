"""A soft hypergraph that goes between any two layers.

References:
    [Lei2025] Lei et al. SoftHGNN: Soft Hypergraph Neural Networks for General Visual Recognition. IJCV 2026, arXiv
        2505.15325.
"""

from __future__ import annotations

from torch import Tensor, nn

from hypertune.errors import FamilyError
from hypertune.families._soft_hyperedge import SoftHyperedges

__all__ = ["SoftHypergraphBlock"]


class SoftHypergraphBlock(nn.Module):
    """`SoftHyperedges` on tokens or on the cells of a feature map; the shape stays what it is ([Lei2025] fig. 1).

    Args:
        width: Features of a token, or channels of the map.
        hyperedges: As for `SoftHyperedges`.
        heads: As for `SoftHyperedges`.
        dropout: As for `SoftHyperedges`.
        top_k: As for `SoftHyperedges`.
        fixed: As for `SoftHyperedges`.
        balance: As for `SoftHyperedges`.
        channels_first: True: feature maps ``(batch, width, *space)`` with at least one axis of space. False: tokens
            ``(batch, N, width)``.

    Raises:
        FamilyError: As for `SoftHyperedges`.
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
        channels_first: bool = False,
    ) -> None:
        super().__init__()
        self.channels_first = channels_first
        self.hypergraph = SoftHyperedges(
            width, hyperedges, heads=heads, dropout=dropout, top_k=top_k, fixed=fixed, balance=balance
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(batch, N, width)`` or ``(batch, width, *space)`` to the same shape.

        Raises:
            FamilyError: The input has another layout.
        """
        if not self.channels_first:
            tokens: Tensor = self.hypergraph(x)
            return tokens
        width = self.hypergraph.width
        if x.dim() < 3 or x.shape[1] != width:
            raise FamilyError(
                "not a feature map",
                where="family.soft_hgnn",
                given=f"a tensor of shape {tuple(x.shape)}",
                expected=f"(batch, {width}, *space)",
                fix="pass channels_first=False for tokens (batch, tokens, features)",
            )
        cells: Tensor = self.hypergraph(x.flatten(2).mT)
        return cells.mT.reshape(x.shape)
