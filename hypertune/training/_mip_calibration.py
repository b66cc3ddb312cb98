"""How well a hypernetwork ranks configurations that were really trained."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.stats import spearmanr

from hypertune.hypernets.mip import MIPHypernetwork
from hypertune.records import Params
from hypertune.training._mip_setup import Setup

__all__ = ["Calibration"]

_FEWEST = 3


class Calibration:
    """Compares predictions with real trials.

    Args:
        setup: What is trained.
        trials: Params and values of the study metric; values that are not finite rank last.

    Raises:
        SpaceError: A covered hyperparameter is missing or outside its range.
    """

    def __init__(self, setup: Setup, trials: Sequence[tuple[Params, float]]) -> None:
        sign = 1.0 if setup.settings.direction == "minimize" else -1.0
        self._setup = setup
        self._points = np.array([setup.coverage.space.encode(params) for params, _ in trials])
        values = sign * np.array([value for _, value in trials], dtype=np.float64)
        self._values = np.where(np.isnan(values), np.inf, values)

    def spearman(self, network: MIPHypernetwork) -> float | None:
        """Return the rank correlation of predictions and values; None for fewer than three trials or all alike."""
        training = network.training
        wanted = [weight for weight in network.parameters() if weight.requires_grad]
        predictor = self._setup.predictor([network], epochs=0.0, seconds=0.0, spearman=None)
        predicted = predictor.predict(self._points)
        network.train(training)
        for weight in wanted:
            weight.requires_grad_(True)
        if len(predicted) < _FEWEST or len(set(predicted)) == 1 or len(set(self._values)) == 1:
            return None
        return float(spearmanr(predicted, self._values).statistic)
