"""Best response of layers whose outputs are linear in their weights, unit by unit."""

from __future__ import annotations

from abc import abstractmethod
from typing import cast

import torch
from torch import Tensor, nn

from hypertune.hypernets.context import Context
from hypertune.hypernets.layers.contract import ResponseLayer

__all__ = ["WeightedResponse"]


class WeightedResponse(ResponseLayer):
    """Response of a layer ``y = W x + b`` in the widest sense: linear maps, convolutions, normalization, embeddings.

    With scaled responses ``W_o (1 + g_o) x + b_o + s_o = y_o + g_o (y_o - b_o) + s_o``: the plain layer's output is all
    that is needed, and one fused multiply-add does the rest. Learned directions are stacked on the weight, so that one
    product reads the input once.

    Args:
        layer: The plain layer, with a parameter named ``weight_name`` and perhaps one named ``bias``.
        context: Where the displacement of each example is read.
        size: Number of hyperparameters.
        rank: Learned directions per weight; 0: scaled.
        path: Path of the layer in its model.
        units: Number of gates.
        feature_axis: Axis of the output that its units are on.
        weight_name: Name of the parameter that responds.
        index: Gate of each output unit, ``(outputs,)``; None: one each.
    """

    def __init__(
        self,
        layer: nn.Module,
        context: Context,
        *,
        size: int,
        rank: int,
        path: str,
        units: int,
        feature_axis: int,
        weight_name: str = "weight",
        index: Tensor | None = None,
    ) -> None:
        super().__init__(layer, context, size=size, rank=rank, path=path)
        self.feature_axis = feature_axis
        self.weight_name = weight_name
        self.register_buffer("index", index, persistent=False)
        weight, bias = self.weight, self.bias
        gates = torch.zeros(max(rank, 1), units, size, device=weight.device, dtype=weight.abs().dtype)
        self.response.gate = nn.Parameter(gates)
        if bias is not None and bias.requires_grad:
            self.response.shift = nn.Parameter(torch.zeros(bias.numel(), size, device=bias.device, dtype=bias.dtype))
        if rank:
            self.response.direction = nn.Parameter(torch.stack([_direction(weight, r) for r in range(rank)]))

    @property
    def weight(self) -> Tensor:
        """The plain weight."""
        weight: Tensor = getattr(self.plain, self.weight_name)
        return weight

    @property
    def bias(self) -> Tensor | None:
        """The plain bias, or None."""
        bias: Tensor | None = getattr(self.plain, "bias", None)
        return bias

    @property
    def direction(self) -> Tensor:
        """Learned directions, ``(rank, *weight.shape)``."""
        return cast("Tensor", self.response.direction)

    @abstractmethod
    def spread(self, units: Tensor) -> Tensor:
        """Shape one number per gate, ``(units,)``, so that it broadcasts against the weight."""

    @abstractmethod
    def unit_sums(self, weight: Tensor) -> Tensor:
        """Sum something of the weight's shape over all but the gates: ``(units,)``; the adjoint of `spread`."""

    def forward(self, *args: Tensor) -> Tensor:
        """Compute the layer with each example's own weights."""
        displacement = self.context.response
        if displacement is None:
            outputs: Tensor = self.plain(*args)
            return outputs
        if displacement.shape[0] == 1:
            return self._call(self._moved(displacement[0]), *args)
        if self.rank:
            return self._gated(displacement, *args)
        outputs = self.plain(*args)
        gates = self._per_output(self._gates(displacement)[0])
        offset = self._offset(displacement, gates)
        gates = self._aligned(1 + gates, outputs)
        return gates * outputs if offset is None else torch.addcmul(self._aligned(offset, outputs), gates, outputs)

    @torch.no_grad()
    def responded(self, displacement: Tensor) -> dict[str, Tensor]:
        """Return the plain parameters at one displacement; see `ResponseLayer.responded`."""
        return {name: weight.clone() for name, weight in self._moved(displacement).items()}

    def squared_norm(self, displacements: Tensor | None) -> Tensor:
        """Return the squared norm of each example's parameters; see `ResponseLayer.squared_norm`."""
        weight = self.weight
        total = torch.zeros(1, device=weight.device, dtype=weight.abs().dtype)
        for name, other in self.plain.named_parameters():
            responds = name == self.weight_name or (name == "bias" and hasattr(self.response, "shift"))
            if other.requires_grad and (displacements is None or not responds):
                total = total + _square(other).sum()
        if displacements is None:
            return total
        if weight.requires_grad:
            gates = self._gates(displacements)  # (directions, batch, units)
            norms = self.unit_sums(_square(weight))
            if self.rank == 0:
                total = total + (1 + gates[0]).square() @ norms
            else:
                total = total + norms.sum()
                for r, direction in enumerate(self.direction):
                    total = total + 2 * gates[r] @ self.unit_sums(_product(weight, direction))
                    for q, other in enumerate(self.direction):
                        total = total + (gates[r] * gates[q]) @ self.unit_sums(_product(direction, other))
        if hasattr(self.response, "shift"):
            bias = self.bias
            assert bias is not None
            total = total + _square(bias.flatten() + self._shifts(displacements)).sum(dim=1)
        return total

    def _gates(self, displacements: Tensor) -> Tensor:
        """Return ``(directions, batch, units)``."""
        gate = cast("Tensor", self.response.gate)
        return displacements.to(gate.dtype) @ gate.transpose(1, 2)

    def _shifts(self, displacements: Tensor) -> Tensor:
        """Return ``(batch, outputs)``."""
        shift = cast("Tensor", self.response.shift)
        return displacements.to(shift.dtype) @ shift.T

    def _offset(self, displacements: Tensor, gates: Tensor) -> Tensor | None:
        """Return what is added to each output besides its gated value, ``(batch, outputs)``."""
        bias = self.bias
        if bias is None:
            return None
        moved = -gates * bias.flatten()
        return moved + self._shifts(displacements) if hasattr(self.response, "shift") else moved

    def _per_output(self, gates: Tensor) -> Tensor:
        index = cast("Tensor | None", self.index)
        return gates if index is None else gates[..., index]

    def _aligned(self, rows: Tensor, outputs: Tensor) -> Tensor:
        return self.context.align(rows.to(outputs.dtype), outputs, path=self.path, feature_axis=self.feature_axis)

    def _moved(self, displacement: Tensor) -> dict[str, Tensor]:
        """Return the responding parameters at one displacement, ``(h,)``, with gradient."""
        gates = self._gates(displacement[None])[:, 0]
        weight = self.weight
        if self.rank == 0:
            moved = weight * self.spread(1 + gates[0])
        else:
            moved = weight
            for r, direction in enumerate(self.direction):
                moved = moved + self.spread(gates[r]) * direction
        parameters = {self.weight_name: moved}
        bias = self.bias
        if bias is not None and hasattr(self.response, "shift"):
            parameters["bias"] = bias + self._shifts(displacement[None]).reshape(bias.shape)
        return parameters

    def _call(self, parameters: dict[str, Tensor], *args: Tensor) -> Tensor:
        outputs: Tensor = torch.func.functional_call(self.plain, parameters, args)
        return outputs

    def _gated(self, displacement: Tensor, *args: Tensor) -> Tensor:
        parts = self._products(*args)  # plain output first, then W replaced by each direction, without bias
        outputs, gates = parts[0], self._gates(displacement)
        for part, gate in zip(parts[1:], gates, strict=True):
            outputs = torch.addcmul(outputs, self._aligned(self._per_output(gate), part), part)
        if hasattr(self.response, "shift"):
            outputs = outputs + self._aligned(self._shifts(displacement), outputs)
        return outputs

    def _products(self, *args: Tensor) -> list[Tensor]:
        bias = self.bias
        nothing = {} if bias is None else {"bias": torch.zeros_like(bias)}
        directions = [self._call({self.weight_name: v, **nothing}, *args) for v in self.direction]
        return [self.plain(*args), *directions]


def _direction(weight: Tensor, number: int) -> Tensor:
    """Return the start of a learned direction: the plain weight, further ones with random signs.

    Copies of one weight would receive the same gradients through gates that start equal, and stay one direction.
    """
    copy = weight.detach().clone()
    return copy if number == 0 else copy * (torch.randint(0, 2, copy.shape, device=copy.device) * 2 - 1)


def _square(tensor: Tensor) -> Tensor:
    return tensor.abs().square() if tensor.is_complex() else tensor.square()


def _product(a: Tensor, b: Tensor) -> Tensor:
    return (a.conj() * b).real if a.is_complex() else a * b
