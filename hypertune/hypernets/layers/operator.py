"""Best response of layers that assemble their weight from parameters, such as hypercomplex ones."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn

from hypertune.hypernets.context import Context
from hypertune.hypernets.layers.weighted import WeightedResponse

__all__ = ["AssembledLayer", "AssembledResponse"]


@runtime_checkable
class AssembledLayer(Protocol):
    """A layer that offers what a best response of it needs to know.

    Its outputs without bias are linear in its input, unless it has an attribute ``linear_in_input`` that says no, as a
    normalization does.
    """

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

    A layer that is not linear in its input, a normalization, is scaled whatever the rank: another direction would need
    another pass, which would count in its running statistics.
    """

    def __init__(self, layer: nn.Module, context: Context, *, size: int, rank: int, path: str) -> None:
        assert isinstance(layer, AssembledLayer)
        name, self._axis, feature_axis, index = layer.response_units()
        weight: Tensor = getattr(layer, name)
        super().__init__(
            layer,
            context,
            size=size,
            rank=rank if _linear_in_input(layer) else 0,
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

    def _carried(self, *args: Any, **keywords: Any) -> Tensor:
        if _linear_in_input(self.plain):
            return super()._carried(*args, **keywords)
        return self._call({}, *args, **keywords)


def _linear_in_input(layer: nn.Module) -> bool:
    return bool(getattr(layer, "linear_in_input", True))
