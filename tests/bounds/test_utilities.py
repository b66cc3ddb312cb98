from __future__ import annotations

import numpy as np
import pytest

from hypertune.bounds.betting import betting_certificate, hold_out_certificate
from hypertune.bounds.bound import Bound
from hypertune.bounds.confidence_sequence import confidence_sequence_certificate
from hypertune.bounds.empirical_bernstein import empirical_bernstein_certificate
from hypertune.bounds.hoeffding import hoeffding_certificate
from hypertune.bounds.improvement import improvement_certificate
from hypertune.bounds.pac_bayes import pac_bayes_certificate
from hypertune.bounds.piecewise import known_oscillations
from hypertune.bounds.uniform import worst_case_certificate
from hypertune.bounds.utilities import scale_utilities
from hypertune.errors import BoundError, ConfigError, TaskError

BOUND: Bound = known_oscillations(10)
CERTIFICATES = {
    "hold-out": hold_out_certificate,
    "hoeffding": hoeffding_certificate,
    "empirical bernstein": empirical_bernstein_certificate,
    "betting": betting_certificate,
    "confidence sequence": confidence_sequence_certificate,
    "improvement": lambda u, delta, **more: improvement_certificate(u, np.full(len(u), 0.25), delta, **more),
    "pac-bayes-kl": lambda u, delta, **more: pac_bayes_certificate(np.reshape(u, (-1, 1)), [1.0], delta, **more),
    "worst case (theory)": lambda u, delta, **more: worst_case_certificate(u, delta, BOUND, utility="utility", **more),
}
every_certificate = pytest.mark.parametrize("kind", CERTIFICATES)


@every_certificate
def test_record_is_consistent(kind):
    utilities = np.random.default_rng(0).beta(8, 2, 400)
    certificate = CERTIFICATES[kind](utilities, 0.05)
    assert certificate.kind == kind
    assert certificate.n == 400
    assert certificate.delta == 0.05
    assert not certificate.vacuous
    assert certificate.margin > 0
    expected = utilities.mean() - (0.25 if kind == "improvement" else 0)
    assert certificate.estimate == pytest.approx(expected, abs=1e-12)
    assert certificate.value == pytest.approx(certificate.estimate - certificate.margin, abs=1e-12)
    assert certificate.source
    assert any("independent draws" in assumption for assumption in certificate.assumptions)


@every_certificate
@pytest.mark.parametrize("value", [1.0001, -0.01, 7.0])
def test_utilities_outside_the_unit_interval_are_refused_with_advice(kind, value):
    with pytest.raises(TaskError, match="lie outside") as caught:
        CERTIFICATES[kind]([0.5, value, 0.5], 0.05)
    assert "limits fixed before the first task" in str(caught.value)


@every_certificate
def test_failed_tasks_are_refused(kind):
    with pytest.raises(TaskError, match="not all finite"):
        CERTIFICATES[kind]([0.5, float("nan"), 0.5], 0.05)


@every_certificate
@pytest.mark.parametrize("utilities", [[], [0.5]])
def test_fewer_than_two_tasks_are_refused(kind, utilities):
    with pytest.raises(TaskError, match="at least 2 tasks"):
        CERTIFICATES[kind](utilities, 0.05)


@every_certificate
@pytest.mark.parametrize("delta", [0.0, 1.0, -0.1, 1.5, float("nan")])
def test_levels_out_of_range_are_refused(kind, delta):
    with pytest.raises(ConfigError, match="delta: is out of range"):
        CERTIFICATES[kind]([0.5, 0.6, 0.7], delta)


@every_certificate
@pytest.mark.parametrize("origin", ["folds", "overlapping", "fold"])
def test_tasks_that_are_no_independent_draws_are_refused(kind, origin):
    with pytest.raises(BoundError) as caught:
        CERTIFICATES[kind]([0.5, 0.6, 0.7], 0.05, tasks=origin)
    assert ("did you mean 'folds'" if origin == "fold" else "not independent") in str(caught.value)


@every_certificate
def test_rounding_at_the_ends_is_no_reason_to_refuse(kind):
    assert CERTIFICATES[kind](np.full(10, 1 + 1e-15), 0.05).estimate <= 1


def test_scaling_maps_the_limits_and_clips():
    np.testing.assert_allclose(scale_utilities([2.0, 3.0, 4.0, 9.0, -1.0], 2, 4), [0, 0.5, 1, 1, 0])


def test_scaling_turns_a_loss_round():
    # A diverged loss is as bad as the worst that counts.
    np.testing.assert_allclose(scale_utilities([[0.0, 1.0], [2.0, np.inf]], 2, 0), [[1, 0.5], [0, 0]])


@pytest.mark.parametrize("limits", [(1, 1), (0, float("inf")), (float("nan"), 1)])
def test_scaling_needs_a_range(limits):
    with pytest.raises(TaskError, match="span no range"):
        scale_utilities([0.5], *limits)


def test_scaling_does_not_invent_a_value_for_nan():
    with pytest.raises(TaskError, match="NaN"):
        scale_utilities([0.5, float("nan")], 0, 1)
