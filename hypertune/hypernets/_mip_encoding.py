"""Points of the unit cube as inputs of a hypernetwork, and as values of hyperparameters.

References:
    [Ortiz24] Ortiz, Guttag, Dalca. Magnitude Invariant Parametrizations Improve Hypernetwork Learning. ICLR 2024,
        arXiv 2304.07645.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from torch import Tensor
from torch.nn import functional

from hypertune.errors import ConfigError, did_you_mean
from hypertune.hypernets.hyperparameters import value_at

__all__ = ["ENCODINGS", "PointEncoding"]

ENCODINGS = ("mip", "raw")


class PointEncoding:
    """Encodes points whose axes are those of `SearchSpace.encode`.

    With ``mip`` a number u in [0, 1] becomes ``[cos(pi u / 2), sin(pi u / 2)]`` and a choice a one-hot vector, so that
    every axis has norm 1 and every point of d axes has norm ``sqrt(d)``: the norm of the input says nothing, and
    cannot scale the outputs ([Ortiz24] section 3.2). ``raw`` is u itself.

    Integers, stepped ranges and choices have cells of equal width on their axis; a point is moved to the middle of its
    cell first, as `SearchSpace.encode` has it. The gradient passes this step of numbers as if it were not there, and is
    0 along a choice.

    Args:
        distributions: The hyperparameters, numeric or a choice of numbers.
        kind: ``mip`` or ``raw``.

    Attributes:
        names: Names, in order of the axes.
        size: Length of an encoded point.

    Raises:
        ConfigError: The kind is unknown.
    """

    def __init__(self, distributions: Mapping[str, BaseDistribution], kind: str = "mip") -> None:
        if kind not in ENCODINGS:
            raise ConfigError(
                "unknown encoding",
                where="sampler.hypernetwork.encoding",
                given=kind,
                expected=f"one of {', '.join(ENCODINGS)}",
                fix=did_you_mean(kind, ENCODINGS),
            )
        self.names = tuple(distributions)
        self._distributions = dict(distributions)
        self._raw = kind == "raw"
        self.size = sum(
            1 if self._raw else len(known.choices) if isinstance(known, CategoricalDistribution) else 2
            for known in distributions.values()
        )

    def __call__(self, points: Tensor) -> Tensor:
        """Encode points, with gradient.

        Args:
            points: ``(n, d)`` in [0, 1].

        Returns:
            ``(n, size)``.
        """
        columns: list[Tensor] = []
        for axis, known in enumerate(self._distributions.values()):
            u = points[:, axis : axis + 1].clamp(0, 1)
            cells = _cells(known)
            if cells is not None:
                index = (u.detach() * cells).floor().clamp(max=cells - 1)
                if isinstance(known, CategoricalDistribution) and not self._raw:
                    columns.append(functional.one_hot(index[:, 0].long(), cells).to(u.dtype))
                    continue
                u = u + ((index + 0.5) / cells - u.detach())
            columns += [u] if self._raw else [torch.cos(math.pi / 2 * u), torch.sin(math.pi / 2 * u)]
        return torch.cat(columns, dim=1)

    @torch.no_grad()
    def values(self, points: Tensor) -> dict[str, Tensor]:
        """Return the values of the hyperparameters, as `SearchSpace.decode` has them.

        Args:
            points: ``(n, d)`` in [0, 1].

        Returns:
            ``(n,)`` by name; whole numbers as floats.
        """
        values = {}
        for axis, (name, known) in enumerate(self._distributions.items()):
            u = points[:, axis].clamp(0, 1)
            if isinstance(known, CategoricalDistribution):
                table = torch.tensor([float(choice) for choice in known.choices], device=u.device, dtype=u.dtype)  # type: ignore[arg-type]
                values[name] = table[(u * len(table)).long().clamp(max=len(table) - 1)]
            else:
                values[name] = value_at(u, known)
        return values


def _cells(known: BaseDistribution) -> int | None:
    """Return the number of equally likely values; None for a continuous or log-scaled range."""
    if isinstance(known, CategoricalDistribution):
        return len(known.choices)
    assert isinstance(known, FloatDistribution | IntDistribution)
    if known.log or known.step is None:
        return None
    return round((known.high - known.low) / known.step) + 1
