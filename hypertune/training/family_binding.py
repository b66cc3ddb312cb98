"""Find out which dropout modules and auxiliary losses a family's hyperparameter sets, by building models."""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import nn

from hypertune.auxiliary_loss import AuxiliaryLoss
from hypertune.families.contract import Family, build_model
from hypertune.records import Params, TaskSpec
from hypertune.space import SearchSpace

__all__ = ["bound_paths"]

# Position of the first name in its range and the step to the next name's, modulo 1, for each of two models. Multiples
# of these steps (1/g and 1/g**2 of the plastic number g) stay apart, however many names there are.
_POSITIONS = ((0.61, 0.7548776662466927), (0.37, 0.5698402909980532))


def bound_paths(
    family: Family, params: Params, spec: TaskSpec, space: SearchSpace, names: Collection[str]
) -> dict[str, list[str]]:
    """Return, for each hyperparameter that the family passes to dropout modules or auxiliary losses, their paths.

    Two models are built, in each of which every hyperparameter has a value that no other one has; a module whose rate
    or weight is a hyperparameter's value in both is set by it. Torch's random state is left as it was.

    Args:
        family: The family.
        params: The configuration; the values of ``names`` are replaced.
        spec: The task.
        space: Ranges of the hyperparameters.
        names: The hyperparameters to look at.

    Raises:
        FamilyError: The family does not build.
    """
    # A whole number is no rate, and another one may make another model.
    lowest, highest = space.decode([0.0] * len(space)), space.decode([1.0] * len(space))
    ranges = [(name, lowest[name], highest[name]) for name in names]
    found: dict[str, list[str]] | None = None
    for first, step in _POSITIONS:
        # Off the grid of stepped ranges, on which two names could share a value.
        values = {
            name: low + (high - low) * (0.05 + 0.9 * ((first + step * index) % 1))
            for index, (name, low, high) in enumerate(ranges)
            if isinstance(low, float) and isinstance(high, float)
        }
        with torch.random.fork_rng(devices=[]):
            model = build_model(family, {**params, **values}, spec)
        rates = {path: _rate(module) for path, module in model.named_modules()}
        matching = {
            name: [path for path, rate in rates.items() if rate is not None and rate == value]
            for name, value in values.items()
        }
        found = matching if found is None else {n: [p for p in found[n] if p in matching[n]] for n in found}
    return {name: paths for name, paths in (found or {}).items() if paths}


def _rate(module: nn.Module) -> float | None:
    if isinstance(module, AuxiliaryLoss):
        return module.weight
    rate = getattr(module, "p", None)
    return float(rate) if isinstance(module, nn.modules.dropout._DropoutNd) and rate is not None else None
