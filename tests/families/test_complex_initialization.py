from __future__ import annotations

import math

import pytest
import torch
from scipy import stats

from hypertune.errors import FamilyError
from hypertune.families._complex_initialization import complex_init_


@pytest.mark.parametrize(("name", "sigma"), [("he", 1 / math.sqrt(50)), ("glorot", 1 / math.sqrt(50 + 30))])
def test_modulus_is_rayleigh_and_phase_uniform(name, sigma):
    weight = complex_init_(torch.empty(100, 200, dtype=torch.complex128), name, fan_in=50, fan_out=30)
    modulus, phase = weight.abs().flatten().numpy(), weight.angle().flatten().numpy()
    assert stats.kstest(modulus, "rayleigh", args=(0, sigma)).pvalue > 0.01
    assert stats.kstest(phase, "uniform", args=(-math.pi, 2 * math.pi)).pvalue > 0.01
    assert abs(stats.spearmanr(modulus, phase).statistic) < 0.03


@pytest.mark.parametrize("shape", [(4, 5, 3), (20, 3, 2), (6, 6, 1)])
def test_unitary_has_orthonormal_rows_or_columns_of_hes_variance(shape):
    weight = complex_init_(torch.empty(shape, dtype=torch.complex128), "unitary", fan_in=15, fan_out=9)
    matrix = weight.flatten(1)
    smaller = matrix if len(matrix) <= matrix.shape[1] else matrix.mH
    gram = smaller @ smaller.mH
    torch.testing.assert_close(gram / gram[0, 0].real, torch.eye(len(gram), dtype=torch.complex128))
    assert matrix.abs().square().mean().item() == pytest.approx(2 / 15)


def test_same_seed_same_weights():
    drawn = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        drawn.append(complex_init_(torch.empty(4, 3, dtype=torch.complex64), "unitary", fan_in=3, fan_out=4))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_an_unknown_name_is_refused():
    with pytest.raises(FamilyError, match="did you mean 'glorot'") as caught:
        complex_init_(torch.empty(4, 3, dtype=torch.complex64), "glorott", fan_in=3, fan_out=4)
    assert caught.value.where == "family.init"
