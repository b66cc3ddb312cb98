"""Independent reference for best-response layers: each example's weights, formed one by one."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from hypertune.hypernets.context import Context
from hypertune.hypernets.layers._choose import response_layer
from hypertune.hypernets.layers.contract import ResponseLayer
from hypertune.hypernets.layers.recurrent import RecurrentResponse

HYPERPARAMETERS = 3
BATCH = 4


class Checked:
    """A layer, its best response with random gates, and the reference weights w(h)."""

    def __init__(self, layer: nn.Module, rank: int = 0) -> None:
        self.plain = layer.double()
        self.context = Context()
        made = response_layer(self.plain, self.context, size=HYPERPARAMETERS, rank=rank, path="layer")
        assert made is not None
        self.response: ResponseLayer = made
        with torch.no_grad():
            for parameter in self.response.response_parameters():
                parameter.add_(0.4 * torch.randn_like(parameter))
            padding = getattr(layer, "padding_idx", None)
            if padding is not None and rank:
                # It starts at 0 and receives no gradient.
                self.response.response.direction[:, padding] = 0
        self.displacements = torch.randn(BATCH, HYPERPARAMETERS, dtype=torch.float64)

    def __call__(self, *args: Any, displacement: Tensor | None) -> Any:
        with self.context.using(displacement):
            return self.response(*args)

    def weights(self, displacement: Tensor) -> dict[str, Tensor]:
        """Form the plain layer's parameters at ``(h,)``, with gradient, entry by entry."""
        if isinstance(self.response, RecurrentResponse):
            return {name: self._recurrent(name, weight, displacement) for name, weight in _named(self.plain)}
        response = dict(self.response.response.named_parameters())
        made = {}
        for name, weight in _named(self.plain):
            if name == "bias":
                made[name] = weight + (response["shift"] @ displacement.to(weight.dtype)).reshape(weight.shape)
            elif name in ("weight", "F"):
                index = gate_of_entry(self.plain, weight)
                moved = weight
                directions = response["direction"] if "direction" in response else weight[None]
                for gate, direction in zip(response["gate"], directions, strict=True):
                    moved = moved + (gate @ displacement)[index] * direction
                made[name] = moved
        return made

    def _recurrent(self, name: str, weight: Tensor, displacement: Tensor) -> Tensor:
        response = dict(self.response.response.named_parameters())
        rows = next(tensor for key, tensor in response.items() if key.endswith(name) and "direction" not in key)
        if weight.dim() == 1:
            return weight + rows @ displacement
        moved = weight
        directions = response.get(f"direction_{name}", weight[None])
        gates = rows.reshape(-1, len(weight), HYPERPARAMETERS)
        for gate, direction in zip(gates, directions, strict=True):
            moved = moved + torch.stack([(row @ displacement) * d for row, d in zip(gate, direction, strict=True)])
        return moved

    def one_by_one(self, *args: Any) -> Tensor:
        """Call the plain layer once for each example, with that example's weights; the batch is axis 0."""
        outputs = []
        for number, displacement in enumerate(self.displacements):
            mine = tuple(arg[number : number + 1] for arg in args)
            outputs.append(functional_call(self.plain, self.weights(displacement), mine))
        return torch.cat(outputs)


def _named(layer: nn.Module) -> list[tuple[str, Tensor]]:
    return list(layer.named_parameters())


def gate_of_entry(layer: nn.Module, weight: Tensor) -> Tensor:
    """Return which gate each entry of the weight has, by definition of the layer."""
    index = torch.zeros(weight.shape, dtype=torch.long)
    if getattr(layer, "transposed", False):
        per_group = layer.in_channels // layer.groups
        for i in range(weight.shape[0]):
            for j in range(weight.shape[1]):
                index[i, j] = (i // per_group) * weight.shape[1] + j
    elif isinstance(layer, nn.Embedding):
        index[:] = torch.arange(weight.shape[1])
    elif hasattr(layer, "F"):
        for row in range(weight.shape[1]):
            index[:, row] = row
    elif weight.dim() == 1 or isinstance(layer, nn.LayerNorm | nn.RMSNorm):
        index[:] = torch.arange(weight.numel()).reshape(weight.shape)
    else:
        for row in range(weight.shape[0]):
            index[row] = row
    return index


def agrees(layer: nn.Module, rank: int, *args: Tensor, reference: Callable[[Checked], Tensor] | None = None) -> None:
    """Hold a response to explicit weights: outputs, gradients, shared displacement, deployment, norms, derivatives."""
    checked = Checked(layer, rank)
    response, displacements = checked.response, checked.displacements
    assert sum(1 for _ in response.response_parameters()) >= 1
    displacements.requires_grad_()
    inputs = [arg.clone().requires_grad_() if arg.is_floating_point() or arg.is_complex() else arg for arg in args]
    wanted = checked.one_by_one(*inputs) if reference is None else reference(checked)
    made = checked(*inputs, displacement=displacements)
    torch.testing.assert_close(made, wanted, rtol=1e-10, atol=1e-10)

    # Gradients of everything: inputs, displacements, plain weights, gates, directions, shifts.
    leaves = [leaf for leaf in (*inputs, displacements, *response.parameters()) if leaf.requires_grad]
    probe = torch.randn_like(made)
    if reference is None:
        got = torch.autograd.grad((made * probe).abs().square().sum(), leaves, allow_unused=True)
        expected = torch.autograd.grad((wanted * probe).abs().square().sum(), leaves, allow_unused=True)
        for a, b in zip(got, expected, strict=True):
            assert (a is None) == (b is None)
            if a is not None and b is not None:
                torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-8)
    gates = torch.autograd.grad(
        checked(*inputs, displacement=displacements).abs().square().sum(), list(response.response_parameters())
    )
    assert all(bool(torch.isfinite(gradient).all() and gradient.abs().sum() > 0) for gradient in gates)

    # Zero displacement and no displacement are the plain layer.
    plain = checked.plain(*args)
    torch.testing.assert_close(checked(*args, displacement=None), plain, rtol=0, atol=0)
    nothing = torch.zeros(BATCH, HYPERPARAMETERS, dtype=torch.float64)
    torch.testing.assert_close(checked(*args, displacement=nothing), plain, rtol=1e-10, atol=1e-10)

    # One displacement for all examples: as a row, for each example, and deployed.
    shared = displacements.detach()[:1]
    by_row = checked(*args, displacement=shared)
    torch.testing.assert_close(by_row, checked(*args, displacement=shared.expand(BATCH, -1)), rtol=1e-9, atol=1e-9)
    deployed = copy.deepcopy(checked.plain)
    moved = response.responded(shared[0])
    for name, weight in checked.weights(shared[0]).items():
        torch.testing.assert_close(moved[name], weight.detach(), rtol=1e-12, atol=1e-12)
    deployed.load_state_dict({**deployed.state_dict(), **moved})
    torch.testing.assert_close(deployed(*args), by_row, rtol=1e-10, atol=1e-10)

    # Norms without forming the weights.
    others = dict(_named(checked.plain))
    norms = torch.stack(
        [
            torch.stack([w.abs().square().sum() for w in {**others, **checked.weights(d)}.values()]).sum()
            for d in displacements
        ]
    )
    torch.testing.assert_close(response.squared_norm(displacements), norms, rtol=1e-10, atol=1e-10)
    at_zero = torch.stack([w.abs().square().sum() for w in others.values()]).sum()[None]
    torch.testing.assert_close(response.squared_norm(None), at_zero, rtol=1e-12, atol=1e-12)
    both = [
        torch.autograd.grad(norm.sum(), [displacements, *response.response_parameters()], allow_unused=True)
        for norm in (response.squared_norm(displacements), norms)
    ]
    for a, b in zip(*both, strict=True):
        assert (a is None) == (b is None)
        if a is not None and b is not None:
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)

    _differentiates(checked, args)


def _differentiates(checked: Checked, args: tuple[Tensor, ...]) -> None:
    """Check gradients and forward-mode slopes with respect to the displacement against differences."""
    displacements = checked.displacements.detach().requires_grad_()
    floats = torch.is_floating_point(args[0]) or args[0].is_complex()

    def call(displacement: Tensor) -> Tensor:
        made = checked(*args, displacement=displacement)
        return torch.view_as_real(made) if made.is_complex() else made

    assert torch.autograd.gradcheck(call, (displacements,), fast_mode=True)
    # The linearisation of Delta-STN: a slope in forward mode, differentiated in reverse mode.
    direction = torch.randn_like(displacements)
    start = torch.zeros_like(displacements)
    value, slope = torch.func.jvp(call, (start,), (direction,))
    step = 1e-5
    difference = (call(start + step * direction) - call(start - step * direction)) / (2 * step)
    torch.testing.assert_close(slope, difference, rtol=1e-6, atol=1e-7)
    gate = next(iter(checked.response.response_parameters()))
    forward = torch.autograd.grad((value + slope).square().sum(), gate)[0]
    outputs = call(start)
    numeric = (call(start + step * direction) - call(start - step * direction)) / (2 * step)
    reverse = torch.autograd.grad((outputs + numeric).square().sum(), gate)[0]
    torch.testing.assert_close(forward, reverse, rtol=1e-5, atol=1e-6)
    if floats and not args[0].is_complex():
        low = copy.deepcopy(checked.response).float()
        # A copy has a context of its own.
        with low.context.using(displacements.detach().float()), torch.autocast("cpu", torch.bfloat16):
            made = low(*(arg.float() for arg in args)).detach()
        wanted = call(displacements).detach().float()
        assert bool(torch.isfinite(made).all())
        size = float(wanted.abs().max())
        assert float((made.float() - wanted).abs().max()) < 0.05 * size


@pytest.fixture(name="agrees")
def agrees_fixture() -> Callable[..., None]:
    return agrees


@pytest.fixture
def checked() -> type[Checked]:
    return Checked
