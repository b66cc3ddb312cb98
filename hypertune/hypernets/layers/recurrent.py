"""Best response of LSTM and GRU."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import PackedSequence

from hypertune.errors import FamilyError
from hypertune.hypernets.context import Context
from hypertune.hypernets.layers.contract import ResponseLayer

__all__ = ["RecurrentResponse"]


class RecurrentResponse(ResponseLayer):
    """Response of ``nn.LSTM`` and ``nn.GRU``: a gate for each row of each weight matrix, a shift for each bias.

    With a displacement per example the recurrence is a loop over time steps, because the fused kernels know one weight
    for the whole batch; with a shared one, or none, the fused kernels run.

    Args:
        layer: The plain layer.
        context: Where the displacement of each example is read.
        size: Number of hyperparameters.
        rank: Not used: the response is scaled.
        path: Path of the layer in its model.
    """

    def __init__(self, layer: nn.LSTM | nn.GRU, context: Context, *, size: int, rank: int, path: str) -> None:
        super().__init__(layer, context, size=size, rank=0, path=path)
        for name, weight in layer.named_parameters():
            # One row per unit for matrices and biases alike.
            rows = torch.zeros(weight.shape[0], size, device=weight.device, dtype=weight.dtype)
            self.response.register_parameter(name, nn.Parameter(rows))

    def forward(self, *args: Any) -> Any:
        """Run the layer with each example's own weights; arguments and results as the plain layer's."""
        displacement = self.context.response
        if displacement is None:
            return self.plain(*args)
        x = args[0]
        if displacement.shape[0] == 1:
            return torch.func.functional_call(self.plain, self._moved(displacement[0]), args)
        if isinstance(x, PackedSequence):
            raise FamilyError(
                "a packed sequence has no batch axis to give each example its own weights along",
                where=f"model.{self.path}",
                expected="padded sequences",
                fix="pad instead of packing, or set trial.self_tuning.per_example: false",
            )
        return self._unrolled(displacement, *args)

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
            elif name.startswith("bias"):
                total = total + (weight + self._rows(name, displacements)).square().sum(dim=1)
            else:
                total = total + (1 + self._rows(name, displacements)).square() @ weight.square().sum(dim=1)
        return total

    def _rows(self, name: str, displacements: Tensor) -> Tensor:
        rows: Tensor = getattr(self.response, name)
        return displacements.to(rows.dtype) @ rows.T

    def _moved(self, displacement: Tensor) -> dict[str, Tensor]:
        moved = {}
        for name, weight in self.plain.named_parameters():
            rows = self._rows(name, displacement[None])[0]
            moved[name] = weight + rows if name.startswith("bias") else weight * (1 + rows)[:, None]
        return moved

    def _unrolled(self, displacement: Tensor, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        layer = cast("nn.LSTM | nn.GRU", self.plain)
        lstm = isinstance(layer, nn.LSTM)
        batch_axis = 0 if layer.batch_first else 1
        if x.dim() != 3 or x.shape[batch_axis] != displacement.shape[0]:
            raise FamilyError(
                "a recurrent layer is called with the batch elsewhere than its batch_first says",
                where=f"model.{self.path}",
                given=f"a tensor of shape {tuple(x.shape)} for a batch of {displacement.shape[0]}",
                expected=f"{displacement.shape[0]} sequences along axis {batch_axis}",
                fix=f"exclude {self.path!r} from the attachment, or set trial.self_tuning.per_example: false",
            )
        steps = x.transpose(0, 1) if layer.batch_first else x
        directions = 2 if layer.bidirectional else 1
        shape = (layer.num_layers * directions, displacement.shape[0], layer.hidden_size)
        if state is None:
            zeros = steps.new_zeros(shape)
            state = (zeros, zeros) if lstm else zeros
        hidden, cell = state if lstm else (state, state)
        last_hidden, last_cell = [], []
        for number in range(layer.num_layers):
            outputs = []
            for direction in range(directions):
                index = number * directions + direction
                sequence = steps.flip(0) if direction else steps
                made, h, c = self._scan(
                    displacement, sequence, hidden[index], cell[index], f"l{number}" + "_reverse" * direction
                )
                outputs.append(made.flip(0) if direction else made)
                last_hidden.append(h)
                last_cell.append(c)
            steps = torch.cat(outputs, dim=-1)
            if layer.dropout and number < layer.num_layers - 1:
                steps = functional.dropout(steps, layer.dropout, self.training)
        result = steps.transpose(0, 1) if layer.batch_first else steps
        final = torch.stack(last_hidden)
        return result, (final, torch.stack(last_cell)) if lstm else final

    def _scan(
        self, displacement: Tensor, steps: Tensor, h: Tensor, c: Tensor, suffix: str
    ) -> tuple[Tensor, Tensor, Tensor]:
        layer = cast("nn.LSTM | nn.GRU", self.plain)
        inputs = self._product(displacement, f"ih_{suffix}", steps)
        outputs = []
        for x in inputs:
            memory = self._product(displacement, f"hh_{suffix}", h)
            if isinstance(layer, nn.LSTM):
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

    def _product(self, displacement: Tensor, name: str, x: Tensor) -> Tensor:
        weight: Tensor = getattr(self.plain, f"weight_{name}")
        product = (1 + self._rows(f"weight_{name}", displacement)) * functional.linear(x, weight)
        bias: Tensor | None = getattr(self.plain, f"bias_{name}", None)
        return product if bias is None else product + bias + self._rows(f"bias_{name}", displacement)
