"""Racing over tasks: how many evaluations it takes, and whether the best candidate is still there at the end.

The population: 300 tasks of semi-supervised learning, generated from scikit-learn's data sets (a pair of classes, 60
rows, a random part of the features, noise). A candidate is one of 64 bandwidths of the RBF kernel, as a multiple of the
median distance; the utility is the accuracy of label propagation (harmonic functions) on the rows without a label.
Tasks are drawn from the population with replacement, so the true mean of each candidate is known.

References:
    Zhu, Ghahramani, Lafferty. Semi-supervised learning using Gaussian fields and harmonic functions. ICML 2003.
"""

from __future__ import annotations

import time
from functools import cache

import numpy as np
import optuna
import pytest
from optuna.distributions import IntDistribution
from optuna.pruners import WilcoxonPruner
from optuna.trial import TrialState
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine

from hypertune.samplers import DataDrivenSampler, RacingPruner, race_tasks

pytestmark = pytest.mark.bench

TASKS, CANDIDATES, REPEATS = 300, 64, 20
ROWS, LABELLED = 30, 3


@cache
def population() -> np.ndarray:
    """Utilities, ``(tasks, candidates)``."""
    rng = np.random.default_rng(0)
    sets = [load(return_X_y=True) for load in (load_digits, load_wine, load_breast_cancer, load_iris)]
    bandwidths = np.geomspace(0.05, 20, CANDIDATES)[:, None, None]
    utilities = np.empty((TASKS, CANDIDATES))
    for task in range(TASKS):
        x, y = sets[rng.integers(len(sets))]
        x = (x - x.mean(axis=0)) / (x.std(axis=0) + 1e-9)
        pair = rng.choice(np.unique(y), 2, replace=False)
        rows = np.concatenate([rng.choice(np.flatnonzero(y == label), ROWS, replace=False) for label in pair])
        columns = rng.choice(x.shape[1], rng.integers(2, x.shape[1] + 1), replace=False)
        z = x[np.ix_(rows, columns)] + rng.uniform(0, 1) * rng.normal(size=(2 * ROWS, len(columns)))
        labels = np.repeat([0.0, 1.0], ROWS)
        known = np.concatenate([side + rng.choice(ROWS, LABELLED, replace=False) for side in (0, ROWS)])
        rest = np.setdiff1d(np.arange(2 * ROWS), known)
        squares = np.square(z[:, None] - z[None]).sum(axis=-1)
        weights = np.exp(-squares / np.median(squares[squares > 0]) / (2 * bandwidths**2))
        weights[:, np.arange(2 * ROWS), np.arange(2 * ROWS)] = 0
        laplacian = -weights[:, rest][:, :, rest]
        laplacian[:, np.arange(len(rest)), np.arange(len(rest))] += weights.sum(axis=2)[:, rest] + 1e-9
        scores = np.linalg.solve(laplacian, (weights[:, rest][:, :, known] @ labels[known])[..., None])[..., 0]
        utilities[task] = ((scores > 0.5) == (labels[rest] > 0.5)).mean(axis=1)
    return utilities


def interleaved(draws: np.ndarray, order: np.ndarray) -> tuple[int, int, set[int]]:
    """Evaluations, the winner, and who is left."""
    sampler = DataDrivenSampler(
        {"k": IntDistribution(0, CANDIDATES - 1)}, seed=int(order[0]), candidates=CANDIDATES, refinements=0
    )
    study = optuna.create_study(direction="maximize", sampler=sampler)
    outcome = race_tasks(study, lambda params, row: row[params["k"]], draws)
    return outcome.evaluations, study.best_params["k"], {study.trials[n].params["k"] for n in outcome.survivors}


def one_by_one(pruner: optuna.pruners.BasePruner, draws: np.ndarray, order: np.ndarray) -> tuple[int, int, set[int]]:
    """The same, with trials that run one after the other under a pruner."""
    study = optuna.create_study(direction="maximize", pruner=pruner, sampler=optuna.samplers.RandomSampler(seed=0))
    evaluations, left = 0, {}
    for candidate in order:
        trial = study.ask()
        for step, value in enumerate(draws[:, candidate]):
            trial.report(float(value), step)
            evaluations += 1
            if trial.should_prune():
                study.tell(trial, state=TrialState.PRUNED)
                break
        else:
            left[int(candidate)] = float(draws[:, candidate].mean())
            study.tell(trial, left[int(candidate)])
    return evaluations, max(left, key=left.__getitem__), set(left)


METHODS = {
    "race_tasks (side by side)": interleaved,
    "RacingPruner (one by one)": lambda draws, order: one_by_one(RacingPruner(candidates=CANDIDATES), draws, order),
    "WilcoxonPruner, p 0.1 (one by one)": lambda draws, order: one_by_one(
        WilcoxonPruner(p_threshold=0.1), draws, order
    ),
    "all candidates on all tasks": lambda draws, order: (
        draws.size,
        int(np.argmax(draws.mean(axis=0))),
        set(range(CANDIDATES)),
    ),
}


@pytest.mark.timeout(1800)
@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize("drawn", [100, 300, 500, 1000])
def test_racing(drawn: int) -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    pool = population()
    means = pool.mean(axis=0)
    best = int(np.argmax(means))
    print(f"\n{CANDIDATES} candidates, {drawn} tasks drawn from {TASKS}")
    print(f"{'':<36} {'evaluations':>12} {'share':>6} {'best kept':>10} {'left':>5} {'regret':>7} {'CPU s':>6}")
    shares, kept = {}, {}
    for name, method in METHODS.items():
        # The Wilcoxon pruner takes some 50 ms at every task, so it is compared where tasks are few.
        repeats = REPEATS if "Wilcoxon" not in name else 5 if drawn == 100 else 0
        if repeats == 0:
            continue
        results, seconds = [], []
        for repeat in range(repeats):
            rng = np.random.default_rng([7, repeat])
            draws, order = pool[rng.integers(0, TASKS, drawn)], rng.permutation(CANDIDATES)
            begun = time.process_time()
            results.append(method(draws, order))
            seconds.append(time.process_time() - begun)
        evaluations = float(np.mean([result[0] for result in results]))
        shares[name], kept[name] = evaluations / (drawn * CANDIDATES), sum(best in result[2] for result in results)
        regret = float(np.mean([means[best] - means[result[1]] for result in results]))
        left = float(np.mean([len(result[2]) for result in results]))
        print(
            f"{name:<36} {evaluations:>12,.0f} {shares[name]:>6.1%} {kept[name]:>7}/{repeats:<2} {left:>5.1f} "
            f"{regret:>7.4f} {np.median(seconds):>6.2f}"
        )
    if drawn == 500:
        assert shares["race_tasks (side by side)"] <= 0.4
        assert kept["race_tasks (side by side)"] >= 19
        assert kept["RacingPruner (one by one)"] >= 19
