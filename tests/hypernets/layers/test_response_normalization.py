from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

Agrees = Callable[..., None]


def _scaled(layer: nn.Module) -> nn.Module:
    """Move scales and offsets away from 1 and 0, where errors hide."""
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.5 * torch.randn_like(parameter))
    return layer


@pytest.mark.parametrize("rank", [0, 2])
@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (lambda: nn.GroupNorm(2, 6), (4, 6)),
        (lambda: nn.GroupNorm(3, 6), (4, 6, 3, 2)),
        (lambda: nn.InstanceNorm1d(6, affine=True), (4, 6, 5)),
        (lambda: nn.InstanceNorm2d(6, affine=True), (4, 6, 3, 4)),
        (lambda: nn.LayerNorm(6), (4, 6)),
        (lambda: nn.LayerNorm(6, bias=False), (4, 3, 6)),
        (lambda: nn.LayerNorm((3, 6)), (4, 3, 6)),
        (lambda: nn.LayerNorm((3, 6)), (4, 2, 3, 6)),
        (lambda: nn.RMSNorm(6), (4, 3, 6)),
        (lambda: nn.RMSNorm((3, 6)), (4, 3, 6)),
    ],
)
def test_normalization_of_each_example_is_the_plain_one_with_its_scale_and_offset(
    agrees: Agrees, rank: int, layer: Callable[[], nn.Module], shape: tuple[int, ...]
) -> None:
    agrees(_scaled(layer()), rank, torch.randn(shape, dtype=torch.float64))


@pytest.mark.parametrize(
    ("kind", "shape"), [(nn.BatchNorm1d, (4, 6)), (nn.BatchNorm1d, (4, 6, 3)), (nn.BatchNorm2d, (4, 6, 3, 2))]
)
def test_batch_normalization_shares_statistics_and_has_a_scale_per_example(
    agrees: Agrees, kind: type[nn.Module], shape: tuple[int, ...]
) -> None:
    x = 2 * torch.randn(shape, dtype=torch.float64) + 1
    axes = [0, *range(2, x.dim())]

    def explicit(checked: Any) -> Tensor:
        mean = x.mean(dim=axes, keepdim=True)
        variance = x.var(dim=axes, keepdim=True, unbiased=False)
        normalized = (x - mean) / (variance + 1e-5).sqrt()
        outputs = []
        for example, displacement in zip(normalized, checked.displacements, strict=True):
            weights = checked.weights(displacement)
            column = (-1, *(1,) * (x.dim() - 2))
            outputs.append(example * weights["weight"].reshape(column) + weights["bias"].reshape(column))
        return torch.stack(outputs)

    # Momentum 0 keeps the running statistics out of the many calls that are compared.
    agrees(_scaled(kind(6, momentum=0.0)), 0, x, reference=explicit)


def test_batch_normalization_in_evaluation_uses_and_in_training_updates_its_running_statistics(checked: Any) -> None:
    made = checked(_scaled(nn.BatchNorm1d(6)))
    twin = nn.BatchNorm1d(6).double()
    x = torch.randn(4, 6, dtype=torch.float64)
    made(x, displacement=made.displacements)
    twin(x)
    torch.testing.assert_close(made.plain.running_mean, twin.running_mean)
    torch.testing.assert_close(made.plain.running_var, twin.running_var)
    assert int(made.plain.num_batches_tracked) == 1
    made(x, displacement=made.displacements[:1])
    assert int(made.plain.num_batches_tracked) == 2
    made.response.eval()
    before = made.plain.running_mean.clone()
    torch.testing.assert_close(made(x, displacement=made.displacements), made.one_by_one(x))
    assert torch.equal(made.plain.running_mean, before)
