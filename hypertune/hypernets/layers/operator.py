"""Best response of layers that assemble their weight from parameters, such as hypercomplex ones."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import Tensor, nn

from hypertune.hypernets.context import Context
from hypertune.hypernets.layers.weighted import WeightedResponse

__all__ = ["AssembledLayer", "AssembledResponse"]


@runtime_checkable
class AssembledLayer(Protocol):
    """A layer, linear in its input, that offers what a best response of it needs to know."""

    def response_units(self) -> tuple[str, int, int, Tensor]:
        """Return which parameter carries the output units.

        Returns:
            Name of the parameter; its axis with one entry per gate; the axis of the output's units; and the gate of
            each output unit, ``(outputs,)``. The output of units that share a gate, bias aside, must be linear in the
            parameter's slice.
        """


class AssembledResponse(WeightedResponse):
    """Response of an `AssembledLayer`: a gate for each slice of the parameter that the output is linear in.

    With hypercomplex multiplication ``W = sum_i A_i kron F_i`` the gates belong to the rows of F, each shared by the n
    components of one hypercomplex output: only then is w(h) hypercomplex again, and can be deployed as a plain layer.
    """

    def __init__(self, layer: nn.Module, context: Context, *, size: int, rank: int, path: str) -> None:
        assert isinstance(layer, AssembledLayer)
        name, self._axis, feature_axis, index = layer.response_units()
        weight: Tensor = getattr(layer, name)
        super().__init__(
            layer,
            context,
            size=size,
            rank=rank,
            path=path,
            units=weight.shape[self._axis],
            feature_axis=feature_axis,
            weight_name=name,
            index=index.to(weight.device),
        )

    def spread(self, units: Tensor) -> Tensor:
        """Shape gates along the axis of the units."""
        shape = [1] * self._weight.dim()
        shape[self._axis] = -1
        return units.reshape(shape)

    def unit_sums(self, weight: Tensor) -> Tensor:
        """Sum over all axes but that of the units."""
        return weight.movedim(self._axis, 0).flatten(1).sum(dim=1)
