"""Best response of LSTM and GRU."""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn import functional
from torch.nn.utils.rnn import PackedSequence

from hypertune.errors import FamilyError
from hypertune.hypernets.context import Context
from hypertune.hypernets.layers.contract import ResponseLayer, respond
from hypertune.hypernets.layers.weighted import initial_direction

__all__ = ["RecurrentResponse"]


class RecurrentResponse(ResponseLayer):
    """Response of ``nn.LSTM`` and ``nn.GRU``: a gate for each row of each weight matrix, a shift for each bias.

    With a displacement per example the recurrence is a loop over time steps, because the fused kernels know one weight
    for the whole batch; with a shared one, or none, the fused kernels run. They cannot be differentiated in forward
    mode, so a loop runs there too.

    Args:
        layer: The plain layer, without projection.
        context: Where the displacement of each example is read.
        size: Number of hyperparameters.
        rank: Learned directions per weight matrix; 0: scaled.
        path: Path of the layer in its model.
    """

    def __init__(self, layer: nn.LSTM | nn.GRU, context: Context, *, size: int, rank: int, path: str) -> None:
        super().__init__(layer, context, size=size, rank=rank, path=path)
        for name, weight in layer.named_parameters():
            # One row per unit: the gates of a matrix, for each direction, or the shifts of a bias.
            rows = torch.zeros(len(weight), size, device=weight.device, dtype=weight.dtype)
            if _is_bias(name):
                added = {f"shift_{name}": rows}
            else:
                added = {f"gate_{name}": rows.repeat(max(rank, 1), 1, 1)}
                if rank:
                    directions = [initial_direction(weight, r, seed=f"{path}.{name}") for r in range(rank)]
                    added[f"direction_{name}"] = torch.stack(directions)
            for key, value in added.items():
                self.response.register_parameter(key, nn.Parameter(value, requires_grad=weight.requires_grad))

    def forward(self, *args: Any, **keywords: Any) -> Any:
        """Run the layer with each example's own weights; arguments and results as the plain layer's."""
        displacement = self.context.response
        if displacement is None:
            return self.plain(*args, **keywords)
        if displacement.shape[0] == 1 and not _has_tangent(displacement):
            return torch.func.functional_call(self.plain, self._moved(displacement[0]), args, keywords)
        return self._unrolled(displacement, *args, **keywords)

    @torch.no_grad()
    def responded(self, displacement: Tensor) -> dict[str, Tensor]:
        """Return the plain parameters at one displacement; see `ResponseLayer.responded`."""
        return {name: weight.clone() for name, weight in self._moved(displacement).items()}

    def squared_norm(self, displacements: Tensor | None) -> Tensor:
        """Return the squared norm of each example's parameters; see `ResponseLayer.squared_norm`."""
        weights = list(self.plain.named_parameters())
        total = weights[0][1].new_zeros(1)
        for name, weight in weights:
            if not weight.requires_grad:
                continue
            if displacements is None:
                total = total + weight.square().sum()
            elif _is_bias(name):
                total = total + (weight + self._shifts(name, displacements)).square().sum(dim=1)
            else:
                gates = self._gates(name, displacements)
                if self.rank == 0:
                    total = total + (1 + gates[0]).square() @ weight.square().sum(dim=1)
                    continue
                total = total + weight.square().sum()
                directions = self._directions(name)
                for gate, direction in zip(gates, directions, strict=True):
                    total = total + 2 * gate @ (weight * direction).sum(dim=1)
                    for other_gate, other in zip(gates, directions, strict=True):
                        total = total + (gate * other_gate) @ (direction * other).sum(dim=1)
        return total

    def _shifts(self, name: str, displacements: Tensor) -> Tensor:
        """Return ``(batch, rows)``."""
        return respond(displacements, getattr(self.response, f"shift_{name}"))

    def _gates(self, name: str, displacements: Tensor) -> Tensor:
        """Return ``(directions, batch, rows)``."""
        return respond(displacements, getattr(self.response, f"gate_{name}"))

    def _directions(self, name: str) -> Tensor:
        return cast("Tensor", getattr(self.response, f"direction_{name}"))

    def _moved(self, displacement: Tensor) -> dict[str, Tensor]:
        """Return the parameters at one displacement, ``(h,)``, with gradient."""
        moved = {}
        for name, weight in self.plain.named_parameters():
            if _is_bias(name):
                moved[name] = weight + self._shifts(name, displacement[None])[0]
                continue
            gates = self._gates(name, displacement[None])[:, 0, :, None]  # (directions, rows, 1)
            moved[name] = weight + (gates * (self._directions(name) if self.rank else weight)).sum(dim=0)
        return moved

    def _unrolled(self, displacement: Tensor, input: Any, hx: Any = None) -> tuple[Tensor, Any]:  # noqa: A002
        layer = cast("nn.LSTM | nn.GRU", self.plain)
        lstm = isinstance(layer, nn.LSTM)
        batch_axis = 0 if layer.batch_first else 1
        examples = self._check_examples(displacement, input, batch_axis)
        steps = input.transpose(0, 1) if layer.batch_first else input
        directions = 2 if layer.bidirectional else 1
        if hx is None:
            zeros = steps.new_zeros(layer.num_layers * directions, examples, layer.hidden_size)
            hx = (zeros, zeros) if lstm else zeros
        hidden, cell = hx if lstm else (hx, hx)
        last_hidden, last_cell = [], []
        for number in range(layer.num_layers):
            outputs = []
            for direction in range(directions):
                index = number * directions + direction
                sequence = steps.flip(0) if direction else steps
                suffix = f"l{number}" + "_reverse" * direction
                made, h, c = self._scan(displacement, sequence, hidden[index], cell[index], suffix)
                outputs.append(made.flip(0) if direction else made)
                last_hidden.append(h)
                last_cell.append(c)
            steps = torch.cat(outputs, dim=-1)
            if layer.dropout and number < layer.num_layers - 1:
                steps = functional.dropout(steps, layer.dropout, layer.training)
        result = steps.transpose(0, 1) if layer.batch_first else steps
        final = torch.stack(last_hidden)
        return result, (final, torch.stack(last_cell)) if lstm else final

    def _check_examples(self, displacement: Tensor, x: Any, batch_axis: int) -> int:
        """Return the number of examples of an input that has the batch where it must be."""
        if isinstance(x, PackedSequence):
            raise FamilyError(
                "a packed sequence has no batch axis to give each example its own weights along",
                where=f"model.{self.path}",
                expected="padded sequences",
                fix=f"pad instead of packing, or exclude {self.path!r} from the attachment",
            )
        examples = len(displacement)
        if x.dim() != 3 or (examples > 1 and x.shape[batch_axis] != examples):
            raise FamilyError(
                "a recurrent layer is called with the batch elsewhere than its batch_first says",
                where=f"model.{self.path}",
                given=f"a tensor of shape {tuple(x.shape)} for a batch of {examples}",
                expected=f"{examples} sequences along axis {batch_axis}",
                fix=f"exclude {self.path!r} from the attachment, or set trial.self_tuning.per_example: false",
            )
        return int(x.shape[batch_axis])

    def _scan(
        self, displacement: Tensor, steps: Tensor, h: Tensor, c: Tensor, suffix: str
    ) -> tuple[Tensor, Tensor, Tensor]:
        lstm = isinstance(self.plain, nn.LSTM)
        recurrent = self._operator(displacement, f"hh_{suffix}")
        outputs = []
        for x in self._operator(displacement, f"ih_{suffix}").apply(steps):
            memory = recurrent.apply(h)
            if lstm:
                i, f, g, o = (x + memory).chunk(4, dim=-1)
                c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
                h = torch.sigmoid(o) * torch.tanh(c)
            else:
                (xr, xz, xn), (hr, hz, hn) = x.chunk(3, dim=-1), memory.chunk(3, dim=-1)
                update = torch.sigmoid(xz + hz)
                new = torch.tanh(xn + torch.sigmoid(xr + hr) * hn)
                h = (1 - update) * new + update * h
            outputs.append(h)
        return torch.stack(outputs), h, c

    def _operator(self, displacement: Tensor, name: str) -> _Operator:
        weight: Tensor = getattr(self.plain, f"weight_{name}")
        gates = self._gates(f"weight_{name}", displacement)
        if self.rank:
            # As one matrix, so that each step is one product.
            weight = torch.cat((weight[None], self._directions(f"weight_{name}"))).flatten(0, 1)
        bias: Tensor | None = getattr(self.plain, f"bias_{name}", None)
        offset = None if bias is None else bias + self._shifts(f"bias_{name}", displacement)
        return _Operator(weight, gates, offset, stacked=self.rank > 0)


class _Operator(NamedTuple):
    """One weight matrix and bias of each example."""

    weight: Tensor
    gates: Tensor  # (directions, batch, rows)
    offset: Tensor | None  # (batch, rows)
    stacked: bool

    def apply(self, x: Tensor) -> Tensor:
        """Map ``(..., batch, inputs)`` to ``(..., batch, rows)``."""
        product = functional.linear(x, self.weight)
        if self.stacked:
            first, *others = product.chunk(len(self.gates) + 1, dim=-1)
            for gate, other in zip(self.gates, others, strict=True):
                first = first + gate * other
            product = first
        else:
            product = (1 + self.gates[0]) * product
        return product if self.offset is None else product + self.offset


def _is_bias(name: str) -> bool:
    return name.startswith("bias")


def _has_tangent(tensor: Tensor) -> bool:
    return forward_ad.unpack_dual(tensor).tangent is not None  # type: ignore[no-untyped-call]
