"""Best response of layers whose outputs are linear in their weights, unit by unit."""

from __future__ import annotations

import zlib
from abc import abstractmethod
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from hypertune.hypernets.context import Context
from hypertune.hypernets.layers.contract import ResponseLayer, respond

__all__ = ["WeightedResponse", "initial_direction"]


class WeightedResponse(ResponseLayer):
    """Response of a layer ``y = W x + b`` in the widest sense: linear maps, convolutions, normalization, embeddings.

    With scaled responses ``W_o (1 + g_o) x + b_o + s_o = (1 + g_o) y_o + s_o - g_o b_o``: the plain layer's output is
    all that is needed, times and plus one number per example and unit. Learned directions cost a product with the input
    each. When all examples share one displacement the weights are moved instead, unless there are more weights than
    inputs.

    A frozen weight or bias does not respond.

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

    linear_in_input: ClassVar[bool] = True
    """Whether the outputs without bias are linear in the layer's only input."""

    moves_weight: ClassVar[bool] = True
    """Whether moving the weight once can be cheaper than treating the outputs, when a displacement is shared."""

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
        weight, bias = self._weight, self._bias
        trained = weight.requires_grad
        gates = torch.zeros(max(rank, 1), units, size, device=weight.device, dtype=weight.abs().dtype)
        self.response.gate = nn.Parameter(gates, requires_grad=trained)
        if bias is not None and bias.requires_grad:
            self.response.shift = nn.Parameter(torch.zeros(bias.numel(), size, device=bias.device, dtype=bias.dtype))
        if rank:
            directions = torch.stack([initial_direction(weight, r, seed=path) for r in range(rank)])
            self.response.direction = nn.Parameter(directions, requires_grad=trained)

    # Private, because a model that reads a layer's `weight` past its forward must not get the plain one.
    @property
    def _weight(self) -> Tensor:
        weight: Tensor = getattr(self.plain, self.weight_name)
        return weight

    @property
    def _bias(self) -> Tensor | None:
        bias: Tensor | None = getattr(self.plain, "bias", None)
        return bias

    @property
    def _direction(self) -> Tensor:
        """Learned directions, ``(rank, *weight.shape)``."""
        return cast("Tensor", self.response.direction)

    @abstractmethod
    def spread(self, units: Tensor) -> Tensor:
        """Shape one number per gate, ``(units,)``, so that it broadcasts against the weight."""

    @abstractmethod
    def unit_sums(self, weight: Tensor) -> Tensor:
        """Sum something of the weight's shape over all but the gates: ``(units,)``; the adjoint of `spread`."""

    def forward(self, *args: Any, **keywords: Any) -> Tensor:
        """Compute the layer with each example's own weights; arguments as the plain layer's."""
        displacement = self.context.response
        if displacement is None:
            return self._call({}, *args, **keywords)
        if self.context.linearized:
            return self._linearized(displacement, *args, **keywords)
        if displacement.shape[0] == 1 and self._fewer_weights_than_inputs(*args, *keywords.values()):
            return self._call(self._moved(displacement[0]), *args, **keywords)
        return self._responding(displacement, *args, **keywords)

    @torch.no_grad()
    def responded(self, displacement: Tensor) -> dict[str, Tensor]:
        """Return the plain parameters at one displacement; see `ResponseLayer.responded`."""
        return {name: weight.clone() for name, weight in self._moved(displacement).items()}

    def squared_norm(self, displacements: Tensor | None) -> Tensor:
        """Return the squared norm of each example's parameters; see `ResponseLayer.squared_norm`."""
        weight = self._weight
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
                for r, direction in enumerate(self._direction):
                    total = total + 2 * gates[r] @ self.unit_sums(_product(weight, direction))
                    for q, other in enumerate(self._direction):
                        total = total + (gates[r] * gates[q]) @ self.unit_sums(_product(direction, other))
        if hasattr(self.response, "shift"):
            bias = self._bias
            assert bias is not None
            total = total + _square(bias.flatten() + self._shifts(displacements)).sum(dim=1)
        return total

    def _responding(self, displacement: Tensor, *args: Any, **keywords: Any) -> Tensor:
        """Return the outputs at each example's displacement, ``(batch or 1, h)``."""
        if self.rank:
            return self._gated(displacement, *args, **keywords)
        outputs = self._call({}, *args, **keywords)
        gates = self._per_output(self._gates(displacement)[0])
        offset = self._offset(displacement, gates)
        return self._modulated(outputs, gates, offset)

    def _gates(self, displacements: Tensor) -> Tensor:
        """Return ``(directions, batch, units)``."""
        return respond(displacements, cast("Tensor", self.response.gate))

    def _shifts(self, displacements: Tensor) -> Tensor:
        """Return ``(batch, outputs)``."""
        return respond(displacements, cast("Tensor", self.response.shift))

    def _offset(self, displacements: Tensor, gates: Tensor) -> Tensor | None:
        """Return what is added to each output besides its gated value, ``(batch, outputs)``."""
        bias = self._bias
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
        weight = self._weight
        if self.rank == 0:
            moved = weight * self.spread(1 + gates[0])
        else:
            moved = weight
            for r, direction in enumerate(self._direction):
                moved = moved + self.spread(gates[r]) * direction
        parameters = {self.weight_name: moved}
        bias = self._bias
        if bias is not None and hasattr(self.response, "shift"):
            parameters["bias"] = bias + self._shifts(displacement[None]).reshape(bias.shape)
        return parameters

    def _fewer_weights_than_inputs(self, *args: Any) -> bool:
        inputs = sum(x.numel() for x in args if isinstance(x, Tensor))
        return self.moves_weight and self._weight.numel() <= inputs

    def _call(self, parameters: dict[str, Tensor], *args: Any, **keywords: Any) -> Tensor:
        """Run the plain layer with some parameters replaced."""
        if not parameters:
            outputs: Tensor = self.plain(*args, **keywords)
            return outputs
        replaced: Tensor = torch.func.functional_call(self.plain, parameters, args, keywords)
        return replaced

    def _modulated(self, outputs: Tensor, gates: Tensor, offset: Tensor | None) -> Tensor:
        """Return ``(1 + gates) * outputs + offset``; both ``(batch, outputs)``."""
        if outputs.dtype in (torch.bfloat16, torch.float16):
            # 1 + gate would round all outputs of a unit alike, a gate below 0.4% away; this rounds each output.
            made = self._aligned(gates, outputs) * outputs
            made = made.add_(outputs)
        else:
            made = self._aligned(1 + gates, outputs) * outputs
        # Not addcmul: the backward pass of a product is several times faster than its own on a CPU.
        return made if offset is None else made.add_(self._aligned(offset, outputs))

    def _linearized(self, displacement: Tensor, *args: Any, **keywords: Any) -> Tensor:
        """Return the outputs as a dual tensor for a dual displacement at 0.

        What torch's own rules would do comes to the same, but multiplies by gates that are 0 and by tangents that the
        fixed weights do not have.
        """
        _, along = _unpacked(displacement)
        assert along is not None
        at, slope = _unpacked(self._carried(*args, **keywords))
        gates = self._gates(along)
        if self.rank:
            at_args = [_unpacked(x)[0] if isinstance(x, Tensor) else x for x in args]
            at_keywords = {name: _unpacked(x)[0] if isinstance(x, Tensor) else x for name, x in keywords.items()}
            parts = self._products(*at_args, **at_keywords)[1:]
            moved = sum(
                self._aligned(self._per_output(gate), part) * part for part, gate in zip(parts, gates, strict=True)
            )
            offset = self._shifts(along) if hasattr(self.response, "shift") else None
        else:
            per_output = self._per_output(gates[0])
            moved = self._aligned(per_output, at) * at
            offset = self._offset(along, per_output)
        if offset is not None:
            moved = moved + self._aligned(offset, at)
        made: Tensor = forward_ad.make_dual(at, moved if slope is None else slope + moved)  # type: ignore[no-untyped-call]
        return made

    def _carried(self, *args: Any, **keywords: Any) -> Tensor:
        """Return the plain layer's outputs, with the derivative that the inputs carry."""
        if not self.linear_in_input or keywords or len(args) != 1:
            return self._call({}, *args, **keywords)
        at, along = _unpacked(args[0])
        outputs = self._call({}, at)
        if along is None:
            return outputs
        made: Tensor = forward_ad.make_dual(outputs, self._call(self._without_bias(), along))  # type: ignore[no-untyped-call]
        return made

    def _without_bias(self) -> dict[str, Tensor]:
        bias = self._bias
        return {} if bias is None else {"bias": torch.zeros_like(bias)}

    def _gated(self, displacement: Tensor, *args: Any, **keywords: Any) -> Tensor:
        parts = self._products(*args, **keywords)
        outputs = parts[0]
        for part, gate in zip(parts[1:], self._gates(displacement), strict=True):
            outputs = (self._aligned(self._per_output(gate), part) * part).add_(outputs)
        if hasattr(self.response, "shift"):
            outputs = outputs.add_(self._aligned(self._shifts(displacement), outputs))
        return outputs

    def _products(self, *args: Any, **keywords: Any) -> list[Tensor]:
        """Return the plain outputs, then the outputs without bias with W replaced by each direction."""
        nothing = self._without_bias()
        directions = [self._call({self.weight_name: v, **nothing}, *args, **keywords) for v in self._direction]
        return [self._call({}, *args, **keywords), *directions]


def initial_direction(weight: Tensor, number: int, *, seed: str) -> Tensor:
    """Return the start of a learned direction: the plain weight, further ones with random signs.

    Copies of one weight would receive the same gradients through gates that start equal, and stay one direction. Signs
    keep every entry's size, and make the directions uncorrelated with each other.

    Args:
        weight: The plain weight.
        number: 0 for the first direction.
        seed: Decides the signs, together with the number; torch's global random state is left alone.
    """
    copy = weight.detach().clone()
    if number == 0:
        return copy
    generator = torch.Generator().manual_seed(zlib.crc32(f"{seed}/{number}".encode()))
    signs = torch.randint(0, 2, copy.shape, generator=generator) * 2 - 1
    return copy * signs.to(copy.device)


def _unpacked(tensor: Tensor) -> tuple[Tensor, Tensor | None]:
    """Return value and derivative of a dual tensor; None where it has none."""
    at, along = forward_ad.unpack_dual(tensor)  # type: ignore[no-untyped-call]
    return at, along


def _square(tensor: Tensor) -> Tensor:
    return tensor.abs().square() if tensor.is_complex() else tensor.square()


def _product(a: Tensor, b: Tensor) -> Tensor:
    return (a.conj() * b).real if a.is_complex() else a * b
