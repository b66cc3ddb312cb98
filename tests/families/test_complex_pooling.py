"""Pooling and dropout of complex numbers."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from hypertune.errors import FamilyError
from hypertune.families._complex_dropout import ComplexDropout
from hypertune.families._complex_heads import ComplexHead, real_parts
from hypertune.families._complex_pooling import ComplexAdaptiveAvgPool, ComplexAvgPool, ComplexMaxPool

SPACES = {1: (7,), 2: (6, 7), 3: (4, 5, 6)}


@pytest.mark.parametrize("axes", SPACES)
def test_maximum_by_modulus_keeps_the_entry_itself(axes):
    x = torch.randn(2, 3, *SPACES[axes], dtype=torch.complex128)
    windows = x
    for axis in range(axes):
        windows = windows.unfold(2 + axis, 2, 2)
    flat = windows.flatten(2 + axes)
    best = flat.abs().argmax(dim=-1, keepdim=True)
    assert torch.equal(ComplexMaxPool(2)(x), flat.gather(-1, best).squeeze(-1))


def test_maximum_with_padding_and_overlap_is_that_of_the_moduli():
    x = torch.randn(2, 3, 9, dtype=torch.complex128)
    made = ComplexMaxPool(3, stride=2, padding=1)(x)
    torch.testing.assert_close(made.abs(), functional.max_pool1d(x.abs(), 3, 2, 1))


def test_gradient_of_the_maximum_reaches_the_winner_alone():
    x = torch.tensor([[[1 + 1j, -2j, 0.5, 0.1j]]], requires_grad=True)
    ComplexMaxPool(2)(x).imag.sum().backward()
    assert x.grad.tolist() == [[[0, 1j, 1j, 0]]]
    y = torch.randn(1, 2, 4, 4, dtype=torch.complex128, requires_grad=True)
    assert torch.autograd.gradcheck(ComplexMaxPool(2), (y,), fast_mode=True)


@pytest.mark.parametrize("axes", SPACES)
def test_averages_are_those_of_the_parts(axes):
    x = torch.randn(2, 3, *SPACES[axes], dtype=torch.complex128, requires_grad=True)
    real = getattr(torch.nn, f"AvgPool{axes}d")(2, 1, 1)
    made = ComplexAvgPool(2, 1, 1)(x)
    torch.testing.assert_close(made, torch.complex(real(x.real), real(x.imag)))
    torch.testing.assert_close(ComplexAdaptiveAvgPool(1)(x).flatten(1), x.flatten(2).mean(dim=2))
    assert torch.autograd.gradcheck(ComplexAvgPool(2), (x[:1, :1].detach().requires_grad_(),), fast_mode=True)


@pytest.mark.parametrize("layer", [ComplexMaxPool(2), ComplexAvgPool(2)])
def test_wrong_inputs_of_pooling_are_refused(layer):
    with pytest.raises(FamilyError, match="takes complex inputs"):
        layer(torch.randn(1, 2, 4))
    with pytest.raises(FamilyError, match="one to three spatial axes"):
        layer(torch.randn(2, 4, dtype=torch.complex64))


def test_dropout_drops_both_parts_together_and_keeps_the_mean():
    layer, x = ComplexDropout(0.3), torch.full((200, 100), 1 - 2j)
    made = layer(x)
    dropped = made == 0
    assert dropped.float().mean().item() == pytest.approx(0.3, abs=0.01)
    torch.testing.assert_close(made[~dropped], (x / 0.7)[~dropped])
    assert torch.equal(layer.eval()(x), x)
    assert torch.equal(ComplexDropout(0.0)(x), x)
    assert not ComplexDropout(1.0)(x).any()


def test_dropout_of_real_inputs_is_torchs():
    x = torch.randn(50, 10)
    torch.manual_seed(3)
    made = ComplexDropout(0.4)(x)
    torch.manual_seed(3)
    assert torch.equal(made, torch.nn.Dropout(0.4)(x))


def test_heads_read_modulus_or_parts():
    x = torch.randn(2, 3, 8, dtype=torch.complex64)
    modulus = ComplexHead(3, (4,), 5, head="modulus", dropout=0.0)
    torch.testing.assert_close(modulus(x), modulus.linear(x.abs().unflatten(2, (4, 2)).mean(dim=3).flatten(1)))
    torch.testing.assert_close(modulus(x * 1j), modulus(x))  # blind to phase
    parts = ComplexHead(3, (4,), 5, head="parts", dropout=0.0)
    pooled = x.unflatten(2, (4, 2)).mean(dim=3).flatten(1)
    torch.testing.assert_close(parts(x), parts.linear(torch.cat((pooled.real, pooled.imag), dim=1)))
    real = ComplexHead(3, (4,), 5, head=None, dropout=0.0)
    torch.testing.assert_close(real(x.real), real.linear(pooled.real))


def test_an_unknown_head_is_refused():
    with pytest.raises(FamilyError, match="did you mean 'modulus'"):
        ComplexHead(3, (4,), 5, head="module", dropout=0.0)


def test_real_parts_come_before_imaginary_ones():
    x = torch.randn(2, 3, 4, dtype=torch.complex64)
    assert torch.equal(real_parts(x), torch.cat((x.real, x.imag), dim=1))
