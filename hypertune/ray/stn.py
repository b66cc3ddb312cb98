"""The search around self-tuning trials, as a search algorithm of Ray Tune."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hypertune.ray._spaces import SpaceLike
from hypertune.ray.search import HyperTuneSearch

__all__ = ["STNSearch"]


class STNSearch(HyperTuneSearch):
    """`hypertune.samplers.STNSampler` in Ray Tune: searches what a self-tuning trial cannot tune itself.

    ```python
    search = STNSearch(self_tuned=["dropout"])      # with domains in param_space; a space of ours marks them itself
    tune.report({"val/loss": loss, "tuned/dropout": dropout})                              # in the trainable
    ```
    Without ``tuned/...`` reports it searches all hyperparameters over trials.

    Args:
        space: As in `HyperTuneSearch`.
        metric: As in `HyperTuneSearch`.
        mode: As in `HyperTuneSearch`.
        points_to_evaluate: As in `HyperTuneSearch`.
        evaluated_rewards: As in `HyperTuneSearch`.
        seed: As in `HyperTuneSearch`.
        max_t: As in `HyperTuneSearch`. Self-tuning trials begin badly and improve: give a scheduler beside them a long
            grace period.
        options: Options of `STNSampler`, such as ``self_tuned``, the names that are tuned inside trials.

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
        **options: Any,
    ) -> None:
        super().__init__("stn", space, metric, mode, points_to_evaluate, evaluated_rewards, seed, max_t, **options)
