"""From a config to the trained hypernetwork that predicts its trials: trained once, kept in the run folder.

It is trained and asked in the driver itself: the sampler there needs its predictions at every proposal, so a process of
its own would load torch twice and save nothing.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from optuna.trial import FrozenTrial, TrialState

from hypertune.config import Config
from hypertune.errors import ConfigError, HypertuneError, SpaceError, TrialError
from hypertune.objectives import FamilyObjective
from hypertune.records import PREDICTED
from hypertune.registry import load
from hypertune.space import SearchSpace

if TYPE_CHECKING:
    from hypertune.training.mip import HypernetworkProgress, MIPPredictor

__all__ = ["Hypernetwork", "check_hypernetwork", "obtain_hypernetwork", "rank_correlation", "wants_hypernetwork"]

_logger = logging.getLogger(__name__)

_SAYINGS = 10  # lines of progress in a training


@dataclass(frozen=True, slots=True)
class Hypernetwork:
    """A hypernetwork as a search uses it.

    Attributes:
        predictor: None when its training failed numerically, or when nothing of the space can be predicted.
        path: Its file, where there is one.
        facts: What the study keeps of it: ``epochs``, ``seconds``, ``names``, ``head``, ``uncovered``, or ``failed``.
    """

    predictor: MIPPredictor | None
    path: Path | None
    facts: Mapping[str, Any]


def wants_hypernetwork(config: Config) -> bool:
    """Return whether a config asks for a hypernetwork: ``sampler: mip``, or one with ``warm_start: mip``."""
    sampler = config.sampler
    return _predicts(config) or sampler.options.get("warm_start") == "mip"


def check_hypernetwork(config: Config, space: SearchSpace) -> None:
    """Check what can be checked without loading data or model.

    Raises:
        ConfigError: There is no family to train a hypernetwork for, an option is wrong, or a trial shall begin from a
            hypernetwork that there is not.
    """
    init = config.trial.init_from_hypernet
    if not wants_hypernetwork(config):
        if init:
            raise ConfigError(
                "there is no hypernetwork to begin from",
                where="trial.init_from_hypernet",
                given=init,
                fix="use sampler: mip, or {name: stn, warm_start: mip}; or drop it",
            )
        if "hypernetwork" in config.sampler.options:
            raise ConfigError(
                "this sampler has no hypernetwork",
                where="sampler.hypernetwork",
                given=config.sampler.name,
                fix="use sampler: mip, or {name: stn, warm_start: mip}",
            )
        return
    if config.family is None or config.task is None:
        raise ConfigError(
            "a hypernetwork is trained for a family and one task",
            where="sampler",
            given=config.sampler.name,
            fix="use sampler: gp with an objective, data_driven with many tasks",
        )
    FamilyObjective(config, space).hypernetwork_settings()


def obtain_hypernetwork(
    objective: FamilyObjective,
    folder: Path,
    *,
    facts: Mapping[str, Any] | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> Hypernetwork:
    """Load the hypernetwork of a folder, or train it: from the state of an interrupted training where there is one.

    Training that fails numerically, and a space of which nothing can be predicted, are no errors: the search goes on
    without predictions, and one warning says so.

    Args:
        objective: The recipe for trials; what they train on decides what the hypernetwork is trained on.
        folder: Where ``hypernetwork.pt`` is kept.
        facts: What the study knows of it, when it goes on.
        say: Told about progress.

    Raises:
        HypertuneError: Family, task, metric, space and options do not fit each other, the network is too large for its
            head, or the file in the folder belongs to another search.
    """
    from hypertune.training.mip import train_hypernetwork

    path = folder / "hypernetwork.pt"
    if facts is not None and facts.get("failed"):
        return Hypernetwork(None, None, facts)
    if path.exists():
        predictor = objective.load_hypernetwork(path)
        return Hypernetwork(predictor, path, {**_facts(predictor), **(facts or {})})
    family, task, settings = objective.load()
    objective.preflight(family, task, settings)
    options, setting = objective.hypernetwork_settings()
    spent, began = 0.0, time.monotonic()

    def progress(now: HypernetworkProgress) -> None:
        nonlocal spent
        spent = float(now.epoch)
        if now.epoch == now.epochs or now.epoch % max(1, math.ceil(now.epochs / _SAYINGS)) == 0:
            say(f"hypernetwork: epoch {now.epoch} of {now.epochs}, training loss {now.loss:.4g}")

    try:
        predictor = train_hypernetwork(
            family,
            task,
            objective.space,
            settings,
            options=options,
            setting=setting,
            seed=objective.config.study.seed,
            folder=folder,
            progress=progress,
        )
    except (TrialError, SpaceError) as error:
        if isinstance(error, SpaceError) and error.where != "space":
            raise
        _logger.warning("the search goes on without predictions: %s", error)
        say(f"the search goes on without predictions: {error}")
        seconds = round(time.monotonic() - began, 3)
        facts = {"epochs": spent, "seconds": seconds, "names": [], "failed": str(error)}
        return Hypernetwork(None, None, facts)
    if objective.config.trial.init_from_hypernet:
        _check_initial_weights(objective, predictor)
    predictor.save(path)
    say(_described(predictor))
    return Hypernetwork(predictor, path, _facts(predictor))


def rank_correlation(trials: Sequence[FrozenTrial], *, maximize: bool) -> float | None:
    """Return Spearman's correlation of predictions and values; 1: each predicted loss is in its place.

    None with fewer than three complete trials that were predicted.
    """
    pairs = [
        (trial.user_attrs[PREDICTED], trial.value)
        for trial in trials
        if trial.state is TrialState.COMPLETE and PREDICTED in trial.user_attrs
    ]
    if len(pairs) < 3:
        return None
    predicted, values = np.array(pairs, dtype=np.float64).T
    if np.ptp(predicted) == 0 or np.ptp(values) == 0:
        return None
    from scipy.stats import spearmanr  # a second to import, which every search would wait for at its start

    rank = float(spearmanr(predicted, values).statistic)
    return round(-rank if maximize else rank, 4)


def _predicts(config: Config) -> bool:
    return bool(getattr(load("sampler", config.sampler.name, where="sampler"), "predicts", False))


def _facts(predictor: MIPPredictor) -> dict[str, Any]:
    return {
        "epochs": predictor.epochs,
        "seconds": round(predictor.seconds, 3),
        "names": list(predictor.names),
        "head": predictor.head,
        "uncovered": dict(predictor.uncovered),
    }


def _described(predictor: MIPPredictor) -> str:
    left = f"; without prediction: {', '.join(predictor.uncovered)}" if predictor.uncovered else ""
    return (
        f"hypernetwork: {predictor.epochs:g} epochs paid, {predictor.seconds:.0f} s, head {predictor.head}, "
        f"predicts from {', '.join(predictor.names)}{left}"
    )


def _check_initial_weights(objective: FamilyObjective, predictor: MIPPredictor) -> None:
    """Check over the space that trials can begin from predicted weights, before any of them runs."""
    for params in objective.points():
        try:
            predictor.initial_weights(params)
        except HypertuneError as error:
            raise ConfigError(
                f"not every trial can begin from the hypernetwork: {error.problem}",
                where="trial.init_from_hypernet",
                given=params,
                fix=error.fix or "drop it",
            ) from error
