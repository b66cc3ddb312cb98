from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from hypertune.bounds.graph_kernels import gaussian_bandwidth, log2_forests, polynomial_offset, threshold_radius
from hypertune.errors import ConfigError


def forests(unlabeled: int, labeled: int) -> list[tuple[int, ...]]:
    """Every way for the unlabeled nodes to point at a parent so that all paths end at a labeled node."""
    n = unlabeled + labeled
    found = []
    for parents in itertools.product(range(n), repeat=unlabeled):
        ends = []
        for node in range(unlabeled):
            for _ in range(n):
                if node >= unlabeled:
                    break
                node = parents[node]
            ends.append(node >= unlabeled)
        if all(ends):
            found.append(parents)
    return found


def harmonic(weights: np.ndarray, unlabeled: int, labels: np.ndarray) -> np.ndarray:
    """Class scores of the unlabeled nodes, which come first."""
    laplacian = np.diag(weights.sum(axis=1)) - weights
    return np.linalg.solve(laplacian[:unlabeled, :unlabeled], weights[:unlabeled, unlabeled:] @ labels)


@pytest.mark.parametrize(("unlabeled", "labeled"), [(1, 1), (1, 3), (2, 1), (2, 2), (3, 2), (4, 1)])
def test_forests_against_enumeration(unlabeled, labeled):
    assert 2 ** log2_forests(unlabeled, labeled) == pytest.approx(len(forests(unlabeled, labeled)), rel=1e-12)


def test_scores_are_ratios_of_sums_over_forests():
    # The identity the counts rest on, at one random graph.
    rng = np.random.default_rng(0)
    unlabeled, labeled = 3, 2
    weights = rng.random((5, 5))
    weights = np.triu(weights, 1) + np.triu(weights, 1).T
    scores = harmonic(weights, unlabeled, np.eye(labeled))
    numerator, denominator = np.zeros((unlabeled, labeled)), 0.0
    for parents in forests(unlabeled, labeled):
        product = math.prod(weights[node, parent] for node, parent in enumerate(parents))
        denominator += product
        for start in range(unlabeled):
            node = start
            while node < unlabeled:
                node = parents[node]
            numerator[start, node - unlabeled] += product
    np.testing.assert_allclose(scores, numerator / denominator, rtol=1e-12)


def _graph(seed: int, unlabeled: int, labeled: int, classes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(unlabeled + labeled, 2))
    squared = ((points[:, None] - points) ** 2).sum(-1)
    labels = np.eye(classes)[np.concatenate((np.arange(classes), rng.integers(0, classes, labeled - classes)))]
    return squared, labels, rng.integers(0, classes, unlabeled)


def _crossings(accuracy: list[float]) -> int:
    values = np.array(accuracy)
    return max(int(np.count_nonzero(np.diff(values > z))) for z in np.unique(values))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("classes", [2, 3])
def test_bandwidth_of_real_graphs(seed, classes):
    squared, labels, truth = _graph(seed, 4, 4, classes)
    accuracy = []
    for bandwidth in np.geomspace(0.4, 10, 1500):
        weights = np.exp(-squared / bandwidth**2)
        np.fill_diagonal(weights, 0)
        accuracy.append(float(np.mean(harmonic(weights, 4, labels).argmax(1) == truth)))
    assert _crossings(accuracy) <= gaussian_bandwidth(4, 4, classes).value


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("classes", [2, 3])
def test_offset_of_real_graphs(seed, classes):
    squared, labels, truth = _graph(seed, 4, 4, classes)
    similarity = 1 / (1 + squared)
    accuracy = []
    for offset in np.geomspace(1e-4, 100, 1500):
        weights = (similarity + offset) ** 3
        np.fill_diagonal(weights, 0)
        accuracy.append(float(np.mean(harmonic(weights, 4, labels).argmax(1) == truth)))
    assert _crossings(accuracy) <= polynomial_offset(4, 4, 3, classes).value


def test_values():
    assert polynomial_offset(5, 3, 2).value == 5 * 5 * 2
    assert polynomial_offset(5, 3, 2, classes=4).value == 5 * 6 * 5 * 2
    assert threshold_radius(10).value == 45
    # u = 2, l = 2: 2 * 4 = 8 forests, so 7 zeros for each of the 2 nodes.
    assert gaussian_bandwidth(2, 2).value == 14
    assert gaussian_bandwidth(100, 20).log2 == pytest.approx(
        math.log2(100) + math.log2(20) + 99 * math.log2(120), rel=1e-12
    )


@pytest.mark.parametrize("seed", range(5))
def test_radius_changes_the_graph_at_distances_only(seed):
    rng = np.random.default_rng(seed)
    points = rng.random((7, 2))
    distances = np.sqrt(((points[:, None] - points) ** 2).sum(-1))[np.triu_indices(7, 1)]
    graphs = {tuple(distances <= r) for r in np.concatenate((distances, distances - 1e-9, [2.0]))}
    assert len(graphs) == threshold_radius(7).value + 1


def test_they_are_about_the_utility_itself():
    assert {gaussian_bandwidth(2, 2).target, polynomial_offset(2, 2, 1).target, threshold_radius(2).target} == {
        "utility"
    }


@pytest.mark.parametrize(
    "call",
    [
        lambda: gaussian_bandwidth(0, 1),
        lambda: gaussian_bandwidth(1, 0),
        lambda: gaussian_bandwidth(1, 1, 1),
        lambda: polynomial_offset(1, 1, 0),
        lambda: threshold_radius(1),
    ],
)
def test_sizes_out_of_range_are_refused(call):
    with pytest.raises(ConfigError, match="whole number"):
        call()
