"""A search guided by a hypernetwork's predictions, as a search algorithm of Ray Tune."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hypertune.ray._spaces import SpaceLike
from hypertune.ray.search import HyperTuneSearch
from hypertune.samplers._prior import Predictor

__all__ = ["MIPSearch"]


class MIPSearch(HyperTuneSearch):
    """`hypertune.samplers.MIPSampler` in Ray Tune: Bayesian optimization whose prior mean is a prediction.

    Args:
        space: As in `HyperTuneSearch`.
        metric: As in `HyperTuneSearch`.
        mode: As in `HyperTuneSearch`.
        points_to_evaluate: As in `HyperTuneSearch`.
        evaluated_rewards: As in `HyperTuneSearch`.
        seed: As in `HyperTuneSearch`.
        max_t: As in `HyperTuneSearch`.
        predict: The predictor that `MIPSampler` takes, which has nested hyperparameters under their names joined by
            ``/``. It runs in the driver and is saved with the search, so it must pickle. None: no predictions.
        options: Further options of `MIPSampler`.

    Raises:
        ConfigError: An argument is wrong.
        SpaceError: The space is wrong.
    """

    def __init__(
        self,
        space: SpaceLike | None = None,
        metric: str | None = None,
        mode: str | None = None,
        points_to_evaluate: Sequence[Mapping[str, Any]] | None = None,
        evaluated_rewards: Sequence[float] | None = None,
        seed: int | None = None,
        max_t: int | None = None,
        *,
        predict: Predictor | None = None,
        **options: Any,
    ) -> None:
        options = {"predict": predict, **options}
        super().__init__("mip", space, metric, mode, points_to_evaluate, evaluated_rewards, seed, max_t, **options)
