"""The named algebras against complex numbers, quaternions and matrices; what else counts as an algebra."""

import itertools

import pytest
import torch

from hypertune.errors import FamilyError
from hypertune.families._algebras import ALGEBRAS, algebra_dimension, multiplication_rules

NAMED = {"real": 1, "complex": 2, "quaternion": 4, "dihedron": 4}


def rules_of(name):
    return multiplication_rules(name, NAMED[name])


def product(A, x, y):
    return torch.einsum("iab,i,b->a", A, x, y)


def test_names_and_dimensions():
    assert set(ALGEBRAS) == {"learned", *NAMED}
    assert {name: algebra_dimension(name) for name in NAMED} == NAMED
    assert algebra_dimension("learned") is None
    assert multiplication_rules("learned", 7) is None


def test_real_numbers():
    assert torch.equal(rules_of("real"), torch.ones(1, 1, 1, dtype=torch.float64))


def test_complex_numbers():
    z, w = torch.randn(2, dtype=torch.complex128)
    expected = torch.view_as_real(z * w)
    torch.testing.assert_close(product(rules_of("complex"), torch.view_as_real(z), torch.view_as_real(w)), expected)


def test_quaternions_multiply_as_their_complex_matrices():
    """1, i, j, k as [[1,0],[0,1]], [[i,0],[0,-i]], [[0,1],[-1,0]], [[0,i],[i,0]]."""
    units = torch.tensor(
        [[[1, 0], [0, 1]], [[1j, 0], [0, -1j]], [[0, 1], [-1, 0]], [[0, 1j], [1j, 0]]], dtype=torch.complex128
    )
    x, y = torch.randn(2, 4, dtype=torch.float64)
    matrices = [torch.einsum("i,iab->ab", v.to(torch.complex128), units) for v in (x, y)]
    z = product(rules_of("quaternion"), x, y).to(torch.complex128)
    torch.testing.assert_close(torch.einsum("i,iab->ab", z, units), matrices[0] @ matrices[1])


def test_the_dihedron_is_the_algebra_of_real_matrices():
    """1, i, j, k as the identity, a quarter turn, a reflection, and their product."""
    turn, mirror = torch.tensor([[[0, -1], [1, 0]], [[0, 1], [1, 0]]], dtype=torch.float64)
    units = torch.stack([torch.eye(2, dtype=torch.float64), turn, mirror, turn @ mirror])
    x, y = torch.randn(2, 4, dtype=torch.float64)
    expected = torch.einsum("i,iab->ab", x, units) @ torch.einsum("i,iab->ab", y, units)
    z = product(rules_of("dihedron"), x, y)
    torch.testing.assert_close(torch.einsum("i,iab->ab", z, units), expected)


@pytest.mark.parametrize("name", NAMED)
def test_has_a_one_and_is_associative(name):
    A, n = rules_of(name), NAMED[name]
    units = torch.eye(n, dtype=torch.float64)
    for x, y, z in itertools.product(units, repeat=3):
        assert torch.equal(product(A, product(A, x, y), z), product(A, x, product(A, y, z)))
    for x in units:
        assert torch.equal(product(A, units[0], x), x)
        assert torch.equal(product(A, x, units[0]), x)


def test_a_tensor_is_its_own_rules_and_a_copy():
    given = torch.arange(8).reshape(2, 2, 2)
    made = multiplication_rules(given, 2)
    assert made.dtype == torch.float64
    assert torch.equal(made, given.double())
    made += 1
    assert given[0, 0, 0] == 0
    parameter = torch.nn.Parameter(torch.ones(1, 1, 1, dtype=torch.float64))
    assert not multiplication_rules(parameter, 1).requires_grad


def test_an_unknown_name_is_corrected():
    with pytest.raises(FamilyError, match=r"family\.algebra: unknown algebra.*did you mean 'quaternion'"):
        multiplication_rules("quaternions", 4)


@pytest.mark.parametrize("algebra", [4, None, [[[1.0]]]])
def test_what_is_neither_a_name_nor_a_tensor(algebra):
    with pytest.raises(FamilyError, match=r"family\.algebra: unknown algebra.*or a tensor \(n, n, n\)"):
        multiplication_rules(algebra, 1)


@pytest.mark.parametrize(("name", "n"), [("real", 2), ("complex", 4), ("quaternion", 2), ("dihedron", 3)])
def test_another_dimension_is_refused_with_the_right_one(name, n):
    with pytest.raises(FamilyError, match=rf"{name} algebra has dimension {NAMED[name]}; given {n}") as caught:
        multiplication_rules(name, n)
    assert caught.value.where == "family.n"


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (torch.ones(2, 2), r"another shape; given '\(2, 2\)'"),
        (torch.ones(2, 2, 3), "another shape"),
        (torch.ones(3, 3, 3), "another shape"),
        (torch.ones(2, 2, 2, 1), "another shape"),
        (torch.ones(2, 2, 2, dtype=torch.complex64), "no real numbers"),
        (torch.ones(2, 2, 2, dtype=torch.bool), "no real numbers"),
        (torch.full((2, 2, 2), float("nan")), "not finite"),
        (torch.zeros(2, 2, 2), "multiplies everything to 0"),
    ],
)
def test_tensors_that_are_no_rules(tensor, message):
    with pytest.raises(FamilyError, match=message) as caught:
        multiplication_rules(tensor, 2)
    assert caught.value.where == "family.algebra"
    assert "(2, 2, 2)" in caught.value.expected
