"""One hyperparameter's axis of the unit cube: value -> [0, 1], and back.

Floats are scaled linearly or by logarithm. A value out of k equally likely ones (categories, integers, steps) goes to
the middle of its 1/k wide cell, so that uniform points decode to uniform values.
"""

from __future__ import annotations

import math

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from hypertune._distributions import round_to_step
from hypertune.records import ParamValue

__all__ = ["decode_value", "encode_value"]


def _cells(distribution: BaseDistribution) -> int | None:
    """Number of equally likely values, or None for a continuous or log-scaled range."""
    if isinstance(distribution, CategoricalDistribution):
        return len(distribution.choices)
    if isinstance(distribution, IntDistribution) and not distribution.log:
        return (distribution.high - distribution.low) // distribution.step + 1
    if isinstance(distribution, FloatDistribution) and distribution.step is not None:
        return round((distribution.high - distribution.low) / distribution.step) + 1
    return None


def _bounds(distribution: BaseDistribution) -> tuple[float, float]:
    """Ends of a continuous axis, in log space where the scale is logarithmic."""
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    low, high = float(distribution.low), float(distribution.high)
    if isinstance(distribution, IntDistribution):
        low, high = low - 0.5, high + 0.5  # each integer owns the interval that rounds to it
    return (math.log(low), math.log(high)) if distribution.log else (low, high)


def encode_value(value: ParamValue, distribution: BaseDistribution) -> float:
    """Return the coordinate in [0, 1] of a value that lies inside the distribution."""
    cells = _cells(distribution)
    if cells is not None:
        if isinstance(distribution, CategoricalDistribution):
            index = int(distribution.to_internal_repr(value))
        else:
            assert isinstance(distribution, FloatDistribution | IntDistribution)
            index = round((float(value) - distribution.low) / (distribution.step or 1))  # type: ignore[arg-type]
        return (index + 0.5) / cells
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    low, high = _bounds(distribution)
    position = math.log(float(value)) if distribution.log else float(value)  # type: ignore[arg-type]
    return 0.5 if high == low else min(1.0, max(0.0, (position - low) / (high - low)))


def decode_value(u: float, distribution: BaseDistribution) -> ParamValue:
    """Return the value, a plain Python scalar inside the distribution, at a coordinate in [0, 1]."""
    cells = _cells(distribution)
    if cells is not None:
        index = min(int(u * cells), cells - 1)
        if isinstance(distribution, CategoricalDistribution):
            choice: ParamValue = distribution.choices[index]
            return choice
        if isinstance(distribution, IntDistribution):
            return distribution.low + index * distribution.step
        assert isinstance(distribution, FloatDistribution)
        return round_to_step(distribution.low, distribution.step or 1.0, index)
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    low, high = _bounds(distribution)
    position = low + u * (high - low)
    value = math.exp(position) if distribution.log else position
    if isinstance(distribution, IntDistribution):
        return min(max(round(value), distribution.low), distribution.high)
    return min(max(value, distribution.low), distribution.high)
