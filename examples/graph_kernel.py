"""One bandwidth for many graphs: semi-supervised learning on scikit-learn's data, with hardly any labels.

A task is two classes of a real data set, 60 rows, some of the features, more or less noise, and three labels for each
class. Labels spread over the graph whose edges weigh ``exp(-distance^2 / (2 bandwidth^2))`` (harmonic functions: Zhu,
Ghahramani, Lafferty, ICML 2003). Nothing is trained, so a task costs milliseconds, and with three labels nothing can be
cross-validated either: the bandwidth has to come from other tasks (Balcan, Sharma, NeurIPS 2021).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine

from hypertune import Trial, TrialPruned, TrialResult

ROWS, LABELLED, TASKS, SEED = 30, 3, 300, 0


@dataclass(frozen=True)
class Graph:
    """Squared distances in units of their median, the labels, and which of them are known."""

    squares: np.ndarray
    labels: np.ndarray
    known: np.ndarray

    def accuracy(self, bandwidth: float) -> float:
        """Share of the rows without a label that get the right one."""
        weights = np.exp(-self.squares / (2 * bandwidth**2))
        np.fill_diagonal(weights, 0)
        rest = np.setdiff1d(np.arange(len(weights)), self.known)
        laplacian = np.diag(weights.sum(axis=1) + 1e-9) - weights
        known = weights[np.ix_(rest, self.known)] @ self.labels[self.known]
        scores = np.linalg.solve(laplacian[np.ix_(rest, rest)], known)
        return float(np.mean((scores > 0.5) == (self.labels[rest] > 0.5)))


def graphs(seed: int) -> Iterator[Graph]:
    """Independent tasks without end."""
    rng = np.random.default_rng(seed)
    sets = [load(return_X_y=True) for load in (load_digits, load_wine, load_breast_cancer, load_iris)]
    while True:
        x, y = sets[rng.integers(len(sets))]
        x = (x - x.mean(axis=0)) / (x.std(axis=0) + 1e-9)
        pair = rng.choice(np.unique(y), 2, replace=False)
        rows = np.concatenate([rng.choice(np.flatnonzero(y == label), ROWS, replace=False) for label in pair])
        columns = rng.choice(x.shape[1], rng.integers(2, x.shape[1] + 1), replace=False)
        z = x[np.ix_(rows, columns)] + rng.uniform(0, 1) * rng.normal(size=(2 * ROWS, len(columns)))
        squares = np.square(z[:, None] - z[None]).sum(axis=-1)
        known = np.concatenate([side + rng.choice(ROWS, LABELLED, replace=False) for side in (0, ROWS)])
        yield Graph(squares / np.median(squares[squares > 0]), np.repeat([0.0, 1.0], ROWS), known)


def train(trial: Trial) -> TrialResult:
    """Try one bandwidth on the tasks, in the order that all candidates share."""
    values = []
    for step, (graph, _) in enumerate(zip(graphs(SEED), range(TASKS), strict=False)):
        values.append(graph.accuracy(trial.params["bandwidth"]))
        trial.report(step, {"accuracy": values[-1]})
        if trial.should_prune():
            raise TrialPruned(f"another bandwidth is better, after {step + 1} tasks")
    return TrialResult(float(np.mean(values)))
