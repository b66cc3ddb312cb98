"""Hyperparameter importance, as Optuna estimates it.

References:
    [Watanabe23] Watanabe, Bansal, Hutter. PED-ANOVA: Efficiently Quantifying Hyperparameter Importance in Arbitrary
        Subspaces. IJCAI 2023, arXiv 2304.10255.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import create_trial

from hypertune.reporting._chart import Axis, Mark, Panel
from hypertune.reporting._study import Study
from hypertune.reporting._text import plural, shorten
from hypertune.reporting.figures.contract import Drawing, Figure, LeftOut

__all__ = ["FIGURE", "importances"]

_ABSENT = object()
_LEAST = 10  # complete trials; with fewer, the best tenth of them says nothing


def importances(study: Study) -> dict[str, float]:
    """Return the share of each hyperparameter, the largest first; empty when nothing can be said."""
    space = study.space
    if space is None or len(study.measured) < _LEAST:
        return {}
    if len({trial.value for trial in study.measured}) == 1 or not _vary(study):
        return {}  # Optuna would share out a whole that is not there
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # that a study was created is no news here
    try:
        copy = optuna.create_study(direction=study.result.direction)
    finally:
        optuna.logging.set_verbosity(verbosity)
    for trial in study.measured:
        params = {name: trial.params[name] for name in space.names if name in trial.params}
        try:
            frozen = create_trial(
                params=params, distributions={name: space.distributions[name] for name in params}, value=trial.value
            )
        except ValueError:  # a value outside the space that the folder now holds
            continue
        copy.add_trial(frozen)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            # What varies little in the complete trials has no density to compare; Optuna says so with a warning.
            warnings.simplefilter("ignore", UserWarning)
            found = get_param_importances(copy, evaluator=PedAnovaImportanceEvaluator())
    except (ValueError, RuntimeError, ZeroDivisionError):
        return {}
    shares = {name: float(share) for name, share in found.items() if math.isfinite(share)}
    return shares if sum(shares.values()) > 0 else {}


def _vary(study: Study) -> bool:
    """Whether any hyperparameter has two values among the trials, or is absent in some."""
    return any(len({repr(trial.params.get(name, _ABSENT)) for trial in study.measured}) > 1 for name in study.names)


def _draw(studies: Sequence[Study]) -> Drawing | LeftOut:
    (study,) = studies
    if len(study.measured) < _LEAST:
        return LeftOut(f"fewer than {_LEAST} complete trials ({len(study.measured)})")
    shares = importances(study)
    if not shares:
        return LeftOut("all hyperparameters or all values are the same")
    names = list(reversed(sorted(shares, key=lambda name: shares[name])[-15:]))
    y = [float(-index) for index in range(len(names))]
    ticks = {-float(index): shorten(name, 24) for index, name in enumerate(names)}
    bars = Mark(
        "bars",
        [shares[name] for name in names],
        y,
        "accent",
        labels=[f"{shares[name]:.0%}" for name in names],
        texts=[f"{name}: {shares[name]:.1%}" for name in names],
    )
    widest = max(shares.values())
    axis = Axis("share of what separates the best tenth of trials", range=(0.0, widest * 1.12))
    panel = Panel([bars], axis, Axis(ticks=ticks, range=(min(y) - 0.6, 0.6)), height=70 + 30 * len(names))
    caption = (
        f"PED-ANOVA (Watanabe et al. 2023) over {plural(len(study.measured), 'complete trial')}, of the values the "
        "trials started with. It speaks of the trials that ran, not of the whole space."
    )
    return Drawing({"": [panel]}, caption)


FIGURE = Figure("Which hyperparameters mattered", _draw)
