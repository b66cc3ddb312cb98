"""Rank configurations by what a hypernetwork predicts for them."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np

from hypertune.config import Config
from hypertune.errors import ConfigError
from hypertune.hypernetwork_prior import obtain_hypernetwork
from hypertune.objectives import FamilyObjective
from hypertune.records import ParamValue
from hypertune.reporting.landscape import Landscape
from hypertune.space import SearchSpace

__all__ = ["rank_configurations"]

_CHUNK = 256
_MOST = 2**20


def rank_configurations(
    config: Config,
    space: SearchSpace,
    folder: Path,
    *,
    n: int,
    say: Callable[[str], None] = lambda text: None,
) -> Landscape:
    """Predict configurations of a low-discrepancy sequence over the hyperparameters that can be predicted.

    Args:
        config: What is trained on what.
        space: The search space.
        folder: Where the hypernetwork is, or will be.
        n: Number of configurations, at least 1; fewer are left where a space has not so many.
        say: Told about progress.

    Raises:
        ConfigError: There is no family with one task, ``n`` is out of range, or nothing can be predicted.
        HypertuneError: See `obtain_hypernetwork`.
    """
    if config.family is None or config.task is None:
        raise ConfigError(
            "a hypernetwork is trained for a family and one task",
            where="rank",
            given=config.objective or "tasks",
            fix="give family and task",
        )
    if not 1 <= n <= _MOST:
        raise ConfigError("out of range", where="--n", given=n, expected=f"a whole number from 1 to {_MOST:,}")
    found = obtain_hypernetwork(FamilyObjective(config, space), folder, say=say)
    if found.predictor is None:
        raise ConfigError("nothing can be ranked", where="rank", given=found.facts["failed"])
    names = found.predictor.names
    covered = SearchSpace({name: space.distributions[name] for name in names})
    rng = np.random.default_rng(config.study.seed)
    from scipy.stats.qmc import Sobol  # a second to import, which every verb would wait for

    drawn = Sobol(len(names), seed=rng).random_base2(max(1, math.ceil(math.log2(n))))[:n]
    rows: dict[tuple[ParamValue, ...], dict[str, ParamValue]] = {}
    for point in drawn:
        params = covered.decode(point)
        rows.setdefault(tuple(params.values()), params)
    distinct = list(rows.values())
    points = np.array([covered.encode(params) for params in distinct])
    predicted = np.empty(len(points))
    for start in range(0, len(points), _CHUNK):
        predicted[start : start + _CHUNK] = found.predictor.predict(points[start : start + _CHUNK])
        done = min(start + _CHUNK, len(points))
        if done == len(points) or (start // _CHUNK) % 4 == 3:
            say(f"predicted {done:,} of {len(points):,} configurations")
    order = np.argsort(predicted, kind="stable")
    entries = covered.to_mapping()
    return Landscape(
        f"Predicted validation loss of {len(points):,} configurations: {config.family.name} on {config.task.name}",
        entries,
        points[order],
        [distinct[i] for i in order],
        predicted[order],
        found.facts,
    )
