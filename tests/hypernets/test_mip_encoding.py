"""Encoded points have one norm, and values are those of `SearchSpace.decode`."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from hypertune.errors import ConfigError
from hypertune.hypernets._mip_encoding import PointEncoding
from hypertune.space import SearchSpace

SPACE = SearchSpace.from_mapping(
    {
        "plain": {"type": "float", "low": 0.0, "high": 0.9},
        "log": {"type": "float", "low": 1e-6, "high": 1e-1, "log": True},
        "stepped": {"type": "float", "low": 0.0, "high": 1.0, "step": 0.25},
        "whole": {"type": "int", "low": 2, "high": 8, "step": 2},
        "whole_log": {"type": "int", "low": 1, "high": 64, "log": True},
        "choice": {"type": "categorical", "choices": [0.0, 0.1, 0.5]},
    }
)


def _points(n: int = 200) -> torch.Tensor:
    return torch.rand(n, len(SPACE), generator=torch.Generator().manual_seed(1))


def test_every_point_has_the_same_norm():
    encoded = PointEncoding(SPACE.distributions)(torch.cat((_points(), torch.zeros(1, 6), torch.ones(1, 6))))
    assert encoded.shape == (202, 5 * 2 + 3)
    torch.testing.assert_close(encoded.norm(dim=1), torch.full((202,), math.sqrt(6)))


def test_raw_points_have_norms_of_their_own():
    encoding = PointEncoding(SPACE.distributions, "raw")
    encoded = encoding(_points())
    assert encoded.shape == (200, encoding.size) == (200, 6)
    assert encoded.norm(dim=1).std() > 0.1


def test_a_number_is_encoded_by_the_papers_formula():
    space = SearchSpace.from_mapping({"a": {"type": "float", "low": -3.0, "high": 5.0}})
    u = np.array([0.0, 0.3, 1.0])
    expected = np.stack((np.cos(np.pi * u / 2), np.sin(np.pi * u / 2)), axis=1)
    encoded = PointEncoding(space.distributions)(torch.tensor(u)[:, None])
    np.testing.assert_allclose(encoded.numpy(), expected, atol=1e-12)


def test_points_of_one_configuration_are_encoded_alike():
    """A cell's points stand for one value, and so does the point that `SearchSpace.encode` gives it."""
    discrete = SearchSpace({n: SPACE.distributions[n] for n in ("stepped", "whole", "choice")})
    encoding = PointEncoding(discrete.distributions)
    points = _points()[:, [2, 3, 5]].double()
    canonical = np.array([discrete.encode(discrete.decode(point)) for point in points.numpy()])
    torch.testing.assert_close(encoding(points), encoding(torch.tensor(canonical)))


def test_values_are_those_of_the_space():
    points = torch.cat((_points(), torch.zeros(1, 6), torch.ones(1, 6))).double()
    values = PointEncoding(SPACE.distributions).values(points)
    for row, point in enumerate(points.numpy()):
        for name, value in SPACE.decode(point).items():
            assert float(values[name][row]) == pytest.approx(value, rel=1e-9), name


def test_gradient_passes_numbers_and_not_choices():
    points = _points(5).requires_grad_(True)
    encoded = PointEncoding(SPACE.distributions)(points)
    weights = torch.randn(encoded.shape, generator=torch.Generator().manual_seed(2))
    (gradient,) = torch.autograd.grad((encoded * weights).sum(), points)
    assert (gradient[:, :5] != 0).all()
    assert (gradient[:, 5] == 0).all()


def test_unknown_encoding():
    with pytest.raises(ConfigError, match=r"hypernetwork\.encoding.*did you mean 'mip'"):
        PointEncoding(SPACE.distributions, "mpi")
