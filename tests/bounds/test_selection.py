from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from hypertune.bounds.selection import SelectionCertificate, selection_certificate
from hypertune.errors import BoundError, ConfigError

REPEATS = 400
DELTA = 0.05
ALLOWED = DELTA + 3 * math.sqrt(DELTA * (1 - DELTA) / REPEATS)


def of(values: np.ndarray, value: float, **options) -> SelectionCertificate:
    error = float(values.std(ddof=1)) / math.sqrt(len(values))
    return selection_certificate(value, float(values.mean()), error, len(values), DELTA, **options)


def chosen(rng: np.random.Generator, trials: int, n: int) -> tuple[int, float, np.ndarray]:
    """Trials of nearly the same accuracy; the best on the validation examples, and its true accuracy."""
    truth = 0.8 + 0.02 * rng.random(trials)
    seen = rng.random((trials, n)) < truth[:, None]
    best = int(seen.mean(axis=1).argmax())
    return best, float(truth[best]), seen


def test_of_zeros_and_ones_is_the_exact_binomial_limit() -> None:
    values = np.r_[np.ones(93), np.zeros(7)]
    up = of(values, 0.95, direction="maximize")
    low = stats.binomtest(93, 100, alternative="greater").proportion_ci(0.95, method="exact").low
    assert up.bound == pytest.approx(low, abs=1e-9)
    assert up.optimism == pytest.approx(0.95 - low, abs=1e-9)
    assert (up.kind, up.approximate, up.n) == ("clopper-pearson", False, 100)
    down = of(1 - values, 0.05, direction="minimize")
    assert down.bound == pytest.approx(1 - low, abs=1e-9)
    assert down.optimism == pytest.approx(up.optimism, abs=1e-9)


@pytest.mark.parametrize(("ones", "bound"), [(0, 0.0), (50, 0.05 ** (1 / 50))])
def test_all_wrong_and_all_right(ones: int, bound: float) -> None:
    values = np.r_[np.ones(ones), np.zeros(50 - ones)]
    assert of(values, 1.0, direction="maximize").bound == pytest.approx(bound)
    assert of(1 - values, 0.0, direction="minimize").bound == pytest.approx(1 - bound)


def test_a_mean_computed_in_single_precision_is_still_recognized() -> None:
    mean = float(np.float32(331 / 359))
    error = math.sqrt(331 / 359 * (1 - 331 / 359) / 358)
    assert selection_certificate(0.9, mean, error, 359, direction="maximize").kind == "clopper-pearson"


def test_of_losses_is_students_t_and_says_that_it_is_approximate() -> None:
    values = np.random.default_rng(0).exponential(size=200)
    certificate = of(values, 0.7, direction="minimize")
    high = stats.ttest_1samp(values, 0, alternative="less").confidence_interval(0.95).high
    assert certificate.bound == pytest.approx(high, rel=1e-9)
    assert certificate.approximate
    assert any("normal" in assumption for assumption in certificate.assumptions)


def test_coverage_after_choosing_the_best_of_many_with_examples_that_chose_nothing() -> None:
    rng = np.random.default_rng(1)
    wrong, naive = 0, 0
    for _ in range(REPEATS):
        best, truth, seen = chosen(rng, trials=40, n=150)
        fresh = (rng.random(200) < truth).astype(float)
        certificate = of(fresh, float(seen[best].mean()), direction="maximize")
        wrong += certificate.optimism < seen[best].mean() - truth
        naive += of(seen[best].astype(float), float(seen[best].mean()), direction="maximize").bound > truth
    assert wrong / REPEATS <= ALLOWED
    assert naive / REPEATS > 3 * ALLOWED  # what the certificate is for: the chosen value by itself misleads


def test_coverage_of_the_union_on_the_examples_that_chose() -> None:
    rng = np.random.default_rng(2)
    wrong = 0
    for _ in range(REPEATS):
        best, truth, seen = chosen(rng, trials=40, n=150)
        value = float(seen[best].mean())
        wrong += of(seen[best].astype(float), value, direction="maximize", candidates=40).bound > truth
    assert wrong / REPEATS <= ALLOWED


def test_coverage_for_skewed_losses() -> None:
    rng = np.random.default_rng(3)
    wrong = sum(of(rng.gamma(2.0, size=400), 2.0, direction="minimize").bound < 2.0 for _ in range(REPEATS))
    assert wrong / REPEATS <= ALLOWED


@pytest.mark.parametrize(
    ("arguments", "options", "where"),
    [
        ((0.5, math.nan, 0.1, 100), {}, "estimate"),
        ((math.inf, 0.5, 0.1, 100), {}, "value"),
        ((0.5, 0.5, math.nan, 100), {}, "standard_error"),
        ((0.5, 0.4, 0.1, 10), {}, "n"),
    ],
)
def test_numbers_that_certify_nothing(arguments: tuple[float, ...], options: dict[str, int], where: str) -> None:
    with pytest.raises(BoundError) as caught:
        selection_certificate(*arguments, direction="minimize", **options)  # type: ignore[arg-type]
    assert caught.value.where == where


@pytest.mark.parametrize(("option", "value"), [("delta", 0.0), ("delta", 1.0), ("candidates", 0), ("n", 1)])
def test_options_out_of_range(option: str, value: float) -> None:
    options = {"delta": 0.05, "candidates": 1, "n": 100, option: value}
    with pytest.raises(ConfigError):
        selection_certificate(0.5, 0.5, 0.05, direction="minimize", **options)  # type: ignore[arg-type]
