from __future__ import annotations

import itertools
import math

import pytest

from hypertune.bounds.candidates import CandidateSet
from hypertune.errors import BoundError, ConfigError


def test_a_closed_set_shares_delta_evenly():
    candidates = CandidateSet.of(range(5), 0.05)
    assert candidates.level(3) == pytest.approx(0.01)
    assert candidates.pair_level(0, 4) == pytest.approx(0.05 / 20)
    assert len(candidates) == 5


def test_all_levels_together_never_exceed_delta():
    candidates = CandidateSet.of(["a", "b", "c"], 0.05, open=True)
    names = ["a", "b", "c"]
    for j in range(60):
        candidates = candidates.add(j, seen=j)
        names.append(j)
    assert sum(candidates.level(name) for name in names) < 0.05
    pairs = sum(candidates.pair_level(a, b) for a, b in itertools.permutations(names, 2))
    assert 0.049 < pairs < 0.05


def test_an_added_candidate_gets_its_share():
    candidates = CandidateSet.of(["a", "b"], 0.1, open=True).add("c", 4).add("d", 9)
    assert candidates.level("a") == pytest.approx(0.025)
    assert candidates.level("d") == pytest.approx(0.05 * 6 / (math.pi * 2) ** 2)
    # d is compared with three earlier ones, in both orders.
    assert candidates.pair_level("a", "d") == candidates.pair_level("d", "c")
    assert candidates.pair_level("a", "d") == pytest.approx(candidates.level("d") / 6)


def test_adding_leaves_earlier_levels_as_they_were():
    before = CandidateSet.of(["a", "b"], 0.1, open=True)
    after = before.add("c", 0)
    assert after.level("a") == before.level("a")
    assert after.pair_level("a", "b") == before.pair_level("a", "b")
    assert len(before) == 2


def test_a_candidate_counts_tasks_from_its_proposal_on():
    candidates = CandidateSet.of(["a", "b"], 0.1, open=True).add("c", 4).add("d", 9)
    assert candidates.first_task("a", "b") == 0
    assert candidates.first_task("c") == 4
    assert candidates.first_task("c", "d", "a") == 9


def test_a_closed_set_takes_no_other_candidate():
    with pytest.raises(BoundError, match="after the union bound was fixed") as caught:
        CandidateSet.of(["a"], 0.05).add("b", 3)
    assert "open=True" in str(caught.value)


def test_strangers_have_no_level():
    candidates = CandidateSet.of(["relu", "tanh"], 0.05)
    for call in (candidates.level, candidates.first_task, lambda name: candidates.pair_level("relu", name)):
        with pytest.raises(BoundError, match="did you mean 'tanh'"):
            call("tanhh")


@pytest.mark.parametrize(
    "call",
    [
        lambda: CandidateSet.of([], 0.05),
        lambda: CandidateSet.of([1, 1], 0.05),
        lambda: CandidateSet.of([1], 1.0),
        lambda: CandidateSet.of([1, 2], 0.05).pair_level(1, 1),
        lambda: CandidateSet.of([1], 0.05, open=True).add(1, 0),
        lambda: CandidateSet.of([1], 0.05, open=True).add(2, -1),
        lambda: CandidateSet.of([1], 0.05, open=True).add(2, 5).add(3, 4),
    ],
)
def test_bad_sets_are_refused(call):
    with pytest.raises(ConfigError):
        call()
