"""Workers that share a study, fresh processes, and starts at the ends of a range."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys

import numpy as np
import optuna
import pytest
from optuna.distributions import FloatDistribution

from hypertune.records import TUNED
from hypertune.samplers._history import History
from hypertune.samplers.stn import STNSampler

SPACE = {"lr": FloatDistribution(1e-4, 1e-1, log=True), "dropout": FloatDistribution(0.0, 1.0)}

PROPOSE = """
import json, numpy as np
from hypertune.samplers._history import History
from hypertune.samplers.stn import STNSampler
rng = np.random.default_rng(0)
x = rng.random((9, 2))
history = History(("lr", "dropout"), x, x, np.ones(9, dtype=bool), x.sum(axis=1), np.empty((0, 2)))
print(json.dumps(STNSampler(None, self_tuned=["dropout"], seed=3).propose(history, 9).tolist()))
"""


def test_a_fresh_process_proposes_the_same():
    first, second = (
        json.loads(subprocess.run([sys.executable, "-c", PROPOSE], capture_output=True, text=True, check=True).stdout)
        for _ in range(2)
    )
    assert first == second


def test_reseeding_for_workers_changes_no_proposal():
    proposals = []
    for reseeds in (False, True):
        study = optuna.create_study(sampler=STNSampler(SPACE, self_tuned=["dropout"], seed=0))
        if reseeds:
            study.sampler.reseed_rng()
        proposals.append([study.ask(SPACE).params for _ in range(4)])
    assert proposals[0] == proposals[1]


def batch(seed, *, aware):
    """Propose four trials after eight; ``aware``: each proposal knows of the others."""
    rng = np.random.default_rng(seed)
    x = rng.random((8, 3))
    y = np.square(x - 0.4).sum(axis=1) + 0.1 * rng.normal(size=8)
    proposals = []
    for number in range(4):
        pending = np.array(proposals if aware else []).reshape(-1, 3)
        history = History(("a", "b", "c"), x, x, np.zeros(8, dtype=bool), y, pending)
        proposals.append(STNSampler(None, seed=seed, n_startup=1).propose(history, 20 + number))
    return min(np.linalg.norm(p - q) for p, q in itertools.combinations(proposals, 2))


def test_trials_that_run_together_are_spread():
    aware = [batch(seed, aware=True) for seed in range(8)]
    alone = [batch(seed, aware=False) for seed in range(8)]
    assert np.median(aware) > 0.1
    assert np.median(aware) > 3 * np.median(alone)


@pytest.mark.parametrize("end", [0.0, 1.0])
def test_no_trial_starts_at_the_flat_end_where_others_stuck(end):
    sampler = STNSampler(SPACE, self_tuned=["dropout"], seed=0, follow=1.0, explore=0.0)
    study = optuna.create_study(sampler=sampler)
    for n in range(8):
        trial = study.ask(SPACE)
        trial.set_user_attr(TUNED, {"dropout": end})
        study.tell(trial, float(n))
    starts = [study.ask(SPACE).params["dropout"] for _ in range(12)]
    assert min(abs(start - end) for start in starts) >= 0.03 - 1e-9
    assert np.median([abs(start - end) for start in starts]) < 0.25
