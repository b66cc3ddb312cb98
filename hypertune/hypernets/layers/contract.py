"""What a best-response layer is: a plain layer whose weights move with the hyperparameters.

References:
    [MacKay19] MacKay, Vicol, Lorraine, Duvenaud, Grosse. Self-Tuning Networks: Bilevel Optimization of
        Hyperparameters using Structured Best-Response Functions. ICLR 2019, arXiv 1903.03088.
    [Bae20] Bae, Grosse. Delta-STN: Efficient Bilevel Optimization for Neural Networks using Structured Response
        Jacobians. NeurIPS 2020, arXiv 2010.13514.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from hypertune.errors import FamilyError
from hypertune.hypernets.context import Context

__all__ = ["ResponseLayer", "respond"]


class ResponseLayer(nn.Module, ABC):
    """A plain layer and how its weights respond to a displacement h of the hyperparameters.

    The weight of output unit o is ``w_o(h) = w_o + (gate_o . h) * direction_o`` and its bias
    ``b_o(h) = b_o + shift_o . h`` ([MacKay19] eq. 11, with the bias direction fixed to 1: one equal to the bias would
    never leave a bias that starts at 0). ``direction`` is either the plain weight itself ("scaled": one product with
    the input serves both, and each unit's weights shrink and grow as a whole), or learned ("gated", ``rank`` of them).
    ``gate`` and ``shift`` start at 0: the layer then IS the plain layer.

    Args:
        layer: The plain layer; its parameters are kept and trained.
        context: Where the displacement of each example is read.
        size: Number of hyperparameters, h.
        rank: Learned directions per weight; 0: the plain weight is the direction.
        path: Path of the layer in its model.

    Attributes:
        plain: The plain layer; the weights at h = 0.
        response: Everything the response adds; all its parameters start so that the response is 0.
    """

    def __init__(self, layer: nn.Module, context: Context, *, size: int, rank: int, path: str) -> None:
        super().__init__()
        self.plain = layer
        self.response = nn.Module()
        self.size = size
        self.rank = rank
        self.path = path
        # A list, so that the module tree does not own what all layers share.
        self._context = [context]

    def __getattr__(self, name: str) -> Any:
        """Read an attribute of the plain layer (``out_features``, ``eps``), as code around the layer may.

        Raises:
            FamilyError: The attribute is a weight and a response is on: its plain value would be silently wrong.
        """
        try:
            return super().__getattr__(name)
        except AttributeError:
            plain = self.__dict__.get("_modules", {}).get("plain")
            if plain is None or name.startswith("_") or not hasattr(plain, name):
                raise
        value = getattr(plain, name)
        if isinstance(value, nn.Parameter) and self.context.response is not None:
            raise FamilyError(
                f"the model reads the layer's {name!r} directly, which no per-example response can reach",
                where=f"model.{self.path}",
                expected="a layer that is only called",
                fix=f"call the layer, or exclude {self.path!r} from the attachment",
            )
        return value

    @property
    def context(self) -> Context:
        """What this model's layers read during a forward."""
        return self._context[0]

    def response_parameters(self) -> Iterator[nn.Parameter]:
        """Iterate over the parameters of the response."""
        return self.response.parameters()

    @abstractmethod
    def forward(self, *args: Any, **keywords: Any) -> Any:
        """Compute the layer with each example's own weights; the plain layer when the context has no response."""

    @torch.no_grad()
    @abstractmethod
    def responded(self, displacement: Tensor) -> dict[str, Tensor]:
        """Return the plain layer's parameters at one displacement.

        Args:
            displacement: ``(h,)``.

        Returns:
            New tensors, keyed as ``plain.named_parameters()``; parameters that do not respond are left out.
        """

    @abstractmethod
    def squared_norm(self, displacements: Tensor | None) -> Tensor:
        """Return the sum of squares of all trainable parameters of the layer, with gradient.

        Per-example weights are never formed: ``|W + diag(a) V|^2 = sum_o |W_o|^2 + 2 a_o <W_o, V_o> + a_o^2 |V_o|^2``.

        Args:
            displacements: ``(batch, h)``; None: at h = 0.

        Returns:
            ``(batch,)``, or ``(1,)`` at h = 0.
        """


def respond(displacements: Tensor, rows: Tensor) -> Tensor:
    """Return ``rows h`` for each displacement h.

    In the precision of ``rows`` even under autocast: a response is small against the weight it moves.

    Args:
        displacements: ``(batch, h)``.
        rows: ``(..., units, h)``, real or complex.

    Returns:
        ``(..., batch, units)``.
    """
    with torch.autocast(rows.device.type, enabled=False):
        # One matrix product also for several directions: it is faster than a batched one.
        made = displacements.to(rows.dtype) @ rows.flatten(0, -2).T
    return made if rows.dim() == 2 else made.reshape(-1, *rows.shape[:-1]).movedim(0, -2)
