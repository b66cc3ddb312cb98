"""A search that is saved goes on elsewhere as it would have gone on here."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState
from ray import cloudpickle
from ray.tune.search import ConcurrencyLimiter
from ray.tune.search.search_generator import SearchGenerator

from hypertune.errors import StorageError
from hypertune.ray import HyperTuneSearch, STNSearch
from hypertune.records import TUNED

from .conftest import DOMAINS, run_trials

ELSEWHERE = """
import json, sys, warnings
from hypertune.ray import HyperTuneSearch
search = HyperTuneSearch()
search.restore(sys.argv[1])
configs = []
for name in ("p", "q", "r"):
    configs.append(search.suggest(name))
    search.on_trial_complete(name, {"loss": configs[-1]["lr"], "training_iteration": 1})
pending = [t.user_attrs["ray:trial_id"] for t in search.study.trials if t.state.name == "RUNNING"]
print(json.dumps({"configs": configs, "pending": pending, "best": search.study.best_value}))
"""


def started(search):
    """A search with trials that ended, one that failed, and two that run."""
    run_trials(search, map(str, range(12)))
    for name in ("failed", "left", "right"):
        search.suggest(name)
    search.on_trial_complete("failed", error=True)
    search.on_trial_result("left", {"loss": 0.5, "training_iteration": 1, "tuned/lr": 0.05})
    return search


def next_ones(search):
    configs = []
    for name in ("p", "q", "r"):
        configs.append(search.suggest(name))
        search.on_trial_complete(name, {"loss": configs[-1]["lr"], "training_iteration": 1})
    return configs


@pytest.mark.parametrize("sampler", ["stn", "tpe", "cmaes", "qmc", "random", "data_driven"])
def test_a_restored_search_proposes_what_the_uninterrupted_one_does(sampler, tmp_path, ready):
    options = {"low": 0, "high": 20} if sampler == "data_driven" else {}
    search = started(ready(HyperTuneSearch(sampler, seed=3, **options)))
    path = str(tmp_path / "search.pkl")
    search.save(path)
    restored = HyperTuneSearch(seed=99)
    restored.restore(path)
    pending = [t for t in restored.study.trials if t.state is TrialState.RUNNING]
    assert [t.user_attrs["ray:trial_id"] for t in pending] == ["left", "right"]
    assert pending[0].intermediate_values == {1: 0.5}
    assert pending[0].user_attrs[TUNED] == {"lr": 0.05}
    for one in (search, restored):
        one.on_trial_complete("left", {"loss": 0.25, "training_iteration": 2})
        assert next(t for t in one.study.trials if t.user_attrs.get("ray:trial_id") == "left").value == 0.25
    assert next_ones(restored) == next_ones(search)
    assert restored.metric == "loss"


def test_in_a_fresh_process(tmp_path, ready):
    search = started(ready(HyperTuneSearch("tpe", seed=3)))
    path = str(tmp_path / "search.pkl")
    search.save(path)
    done = subprocess.run([sys.executable, "-c", ELSEWHERE, path], capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr
    elsewhere = json.loads(done.stdout.splitlines()[-1])
    assert elsewhere == {
        "configs": next_ones(search),
        "pending": ["left", "right"],
        "best": search.study.best_value,
    }


def test_the_end_of_the_proposals_is_remembered(tmp_path):
    grid = optuna.samplers.GridSampler({"x": [0.0, 1.0]}, seed=0)
    search = HyperTuneSearch(grid, {"x": {"choices": [0.0, 1.0]}}, "loss", "min")
    run_trials(search, ["a"], value=lambda config, step: config["x"])
    search.save(str(tmp_path / "search.pkl"))
    restored = HyperTuneSearch()
    restored.restore(str(tmp_path / "search.pkl"))
    assert len(run_trials(restored, "bcdef", value=lambda config, step: config["x"])) == 1


def test_through_rays_generator_and_limiter(tmp_path, ready):
    folder = str(tmp_path)
    search = ready(HyperTuneSearch("tpe", seed=3))
    limiter = ConcurrencyLimiter(search, max_concurrent=2)
    run_trials(limiter, map(str, range(12)))
    assert limiter.suggest("running") is not None
    SearchGenerator(limiter).save_to_dir(folder, "session")
    restored = HyperTuneSearch()
    generator = SearchGenerator(ConcurrencyLimiter(restored, max_concurrent=2))
    assert generator.has_checkpoint(folder)
    generator.restore_from_dir(folder)
    assert generator.searcher.suggest("next") == search.suggest("next")
    assert generator.searcher.suggest("over the limit") is None
    generator.on_trial_complete("running", {"loss": 0.0, "training_iteration": 1})
    assert restored.study.best_value == 0.0


def test_a_space_known_from_before_may_be_handed_over_again(tmp_path, ready):
    search = started(ready(HyperTuneSearch("tpe", seed=3)))
    search.save(str(tmp_path / "search.pkl"))
    restored = HyperTuneSearch()
    restored.restore(str(tmp_path / "search.pkl"))
    assert restored.set_search_properties("loss", "min", DOMAINS)
    assert len(restored.study.trials) == 15


@pytest.mark.parametrize("kind", ["fresh", "running"])
def test_rays_own_pickle_of_the_tuner(kind, ready):
    search = STNSearch(seed=3) if kind == "fresh" else started(ready(STNSearch(seed=3)))
    copied = ready(pickle.loads(cloudpickle.dumps(search)))
    assert next_ones(copied) == next_ones(ready(search))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read.*No such file"),
        (b"", "cannot be read"),
        (b"text", "cannot be read"),
        (pickle.dumps([1]), "another search algorithm; given 'list'"),
    ],
)
def test_files_that_hold_no_search(content, message, tmp_path):
    path = Path(tmp_path / "search.pkl")
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(StorageError, match=message):
        HyperTuneSearch().restore(str(path))


def test_the_state_of_another_search_algorithm(tmp_path, ready):
    path = str(tmp_path / "search.pkl")
    ready(STNSearch()).save(path)
    with pytest.raises(StorageError, match=r"another search algorithm; given 'STNSearch'; expected HyperTuneSearch"):
        HyperTuneSearch().restore(path)
