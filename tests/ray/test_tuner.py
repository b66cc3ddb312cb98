"""Search algorithms inside real `tune.Tuner` runs, on one small cluster."""

from __future__ import annotations

import importlib.util
import logging
import math
from pathlib import Path

import pytest
import ray
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState
from ray import tune
from ray.tune.schedulers import ASHAScheduler, HyperBandScheduler, PopulationBasedTraining

from hypertune.errors import ConfigError, SpaceError
from hypertune.ray import DataDrivenSearch, HyperTuneSearch, PruningScheduler, STNSearch
from hypertune.records import TUNED

pytestmark = [
    pytest.mark.ray,
    # Ray's own, about its parts and the interpreter's.
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

DOMAINS = {"lr": tune.loguniform(1e-4, 1e-1), "net": {"rate": tune.uniform(0, 1)}, "epochs": 3}


@pytest.fixture(scope="module", autouse=True)
def cluster():
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (
            ("RAY_AIR_NEW_OUTPUT", "0"),
            ("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0"),
            ("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1"),
        ):
            patch.setenv(name, value)
        ray.init(
            address="local",
            num_cpus=2,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            object_store_memory=100_000_000,
        )
        yield
        ray.shutdown()


def self_tuning():
    """A trainable whose rate moves to 0.3 while it runs; made here, so that workers need not import this module."""

    def train(config):
        import math

        from ray import tune

        rate = config["net"]["rate"]
        for _ in range(config.get("epochs", 4)):
            rate += 0.7 * (0.3 - rate)
            loss = (math.log10(config["lr"]) + 2) ** 2 + (rate - 0.3) ** 2
            tune.report({"val": {"loss": loss}, "tuned": {"net": {"rate": rate}}})

    return train


def resumable():
    """A trainable that a scheduler can pause."""
    from ray import tune

    class Member(tune.Trainable):
        def setup(self, config):
            self.reset_config(config)

        def reset_config(self, new_config):
            self.x, self.done = new_config["x"], 0
            return True

        def step(self):
            self.done += 1
            return {"loss": self.x + 1 / self.done}

        def save_checkpoint(self, checkpoint_dir):
            return {"done": self.done}

        def load_checkpoint(self, checkpoint):
            self.done = checkpoint["done"]

    return Member


def fit(search, folder, trainable, domains, samples, *, metric="val/loss", mode="min", callbacks=(), **options):
    run = tune.RunConfig(storage_path=str(folder), name="run", verbose=0, callbacks=list(callbacks))
    config = tune.TuneConfig(
        search_alg=search, metric=metric, mode=mode, num_samples=samples, reuse_actors=True, **options
    )
    return tune.Tuner(trainable, param_space=domains, tune_config=config, run_config=run).fit()


def test_one_line_beside_rays_own_domains(tmp_path):
    search = STNSearch(seed=0, self_tuned=["net/rate"])
    results = fit(search, tmp_path, self_tuning(), DOMAINS, 8, max_concurrent_trials=1)
    assert not results.errors
    trials = search.study.trials
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 8
    reported = {result.metrics["trial_id"]: result for result in results}
    for trial in trials:
        result = reported[trial.user_attrs["ray:trial_id"]]
        assert result.config == {
            "lr": trial.params["lr"],
            "net": {"rate": trial.params["net/rate"]},
            "epochs": 3,
        }
        assert trial.value == result.metrics["val"]["loss"]
        assert sorted(trial.intermediate_values) == [1, 2, 3]
        assert trial.user_attrs[TUNED] == {"net/rate": result.metrics["tuned"]["net"]["rate"]}
    assert search.study.best_value == results.get_best_result().metrics["val"]["loss"]
    # The same proposals as without Ray around it.
    alone = STNSearch(seed=0, self_tuned=["net/rate"], metric="val/loss", mode="min")
    alone.set_search_properties(None, None, DOMAINS)
    for trial in trials:
        name = trial.user_attrs["ray:trial_id"]
        assert alone.suggest(name) == {"lr": trial.params["lr"], "net": {"rate": trial.params["net/rate"]}}
        for step, value in trial.intermediate_values.items():
            alone.on_trial_result(
                name, {"val/loss": value, "training_iteration": step, "tuned": trial.user_attrs[TUNED]}
            )
        alone.on_trial_complete(name, {"val/loss": trial.value, "training_iteration": 3})


def test_beside_asha(tmp_path):
    search = STNSearch(
        {"lr": FloatDistribution(1e-4, 1e-1, log=True), "net": {"rate": FloatDistribution(0, 1)}}, seed=0, max_t=4
    )
    scheduler = ASHAScheduler(max_t=4, grace_period=1, reduction_factor=2)
    results = fit(search, tmp_path, self_tuning(), {"epochs": 9}, 8, scheduler=scheduler)
    assert not results.errors
    iterations = {result.metrics["trial_id"]: result.metrics["training_iteration"] for result in results}
    assert min(iterations.values()) < 4
    for trial in search.study.trials:
        steps = iterations[trial.user_attrs["ray:trial_id"]]
        assert trial.state is (TrialState.PRUNED if steps < 4 else TrialState.COMPLETE)
        assert sorted(trial.intermediate_values) == list(range(1, steps + 1))
        assert trial.value == trial.intermediate_values[steps]


def test_beside_hyperband(tmp_path):
    search = HyperTuneSearch("tpe", {"x": FloatDistribution(0, 1)}, seed=0, metric="loss", mode="min", max_t=4)
    scheduler = HyperBandScheduler(max_t=4, reduction_factor=2, metric="loss", mode="min")
    results = fit(search, tmp_path, resumable(), {}, 6, metric=None, mode=None, scheduler=scheduler)
    assert not results.errors
    assert len(search.study.trials) == 6
    for trial in search.study.trials:
        assert trial.state.is_finished()
        assert math.isfinite(trial.value)
        last = max(trial.intermediate_values)
        assert trial.value == pytest.approx(trial.params["x"] + 1 / last, abs=1e-12)
        assert trial.state is (TrialState.COMPLETE if last >= 4 else TrialState.PRUNED)
    later = HyperTuneSearch("tpe", {"x": FloatDistribution(0, 1)}, seed=0, metric="loss", mode="min")
    later.add_evaluated_trials(results._experiment_analysis, "loss")
    assert sorted(trial.value for trial in later.study.trials) == sorted(trial.value for trial in search.study.trials)


def test_a_race_over_tasks(tmp_path):
    def candidate(config):
        from ray import tune

        for task in range(60):
            tune.report({"utility": max(0.0, 1 - abs(config["x"] - 0.4) - (task % 3) / 10)})

    search = DataDrivenSearch({"x": FloatDistribution(0, 1)}, "utility", "max", seed=0, candidates=5, refinements=0)
    scheduler = PruningScheduler(search)
    results = fit(search, tmp_path, candidate, {}, 50, metric=None, mode=None, scheduler=scheduler)
    assert not results.errors
    assert len(results) == 5  # the design, and then the search says that it has finished
    states = [trial.state for trial in search.study.trials]
    assert TrialState.PRUNED in states
    best = search.study.best_trial
    assert len(best.intermediate_values) == 60
    assert abs(best.params["x"] - 0.4) == min(abs(trial.params["x"] - 0.4) for trial in search.study.trials)
    assert search.study.sampler.certificate(search.study).n == 60


class Interrupt(tune.Callback):
    """Stops the driver after some trials, as a crash would."""

    def __init__(self, after):
        self.after = after

    def on_trial_complete(self, iteration, trials, trial, **info):
        self.after -= 1
        if self.after == 0:
            raise KeyboardInterrupt


def test_an_interrupted_run_is_restored(tmp_path, monkeypatch):
    monkeypatch.setenv("TUNE_GLOBAL_CHECKPOINT_S", "0")  # Ray saves after each event, not every ten seconds
    search = HyperTuneSearch("tpe", seed=0)
    train = self_tuning()
    with pytest.raises(KeyboardInterrupt):
        fit(search, tmp_path, train, DOMAINS, 13, max_concurrent_trials=1, callbacks=[Interrupt(11)])
    tuner = tune.Tuner.restore(str(tmp_path / "run"), trainable=train, param_space=DOMAINS)
    tuner._local_tuner._run_config.callbacks = []
    results = tuner.fit()
    assert not results.errors
    assert len(results) == 13
    restored = HyperTuneSearch()
    restored.restore_from_dir(str(tmp_path / "run"))
    trials = restored.study.trials
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 13
    assert {t.user_attrs["ray:trial_id"] for t in trials} == {result.metrics["trial_id"] for result in results}
    uninterrupted = HyperTuneSearch("tpe", seed=0)
    uninterrupted.set_search_properties("val/loss", "min", DOMAINS)
    for trial in trials:
        name = trial.user_attrs["ray:trial_id"]
        config = uninterrupted.suggest(name)
        assert config == {"lr": trial.params["lr"], "net": {"rate": trial.params["net/rate"]}}
        for step, value in trial.intermediate_values.items():
            uninterrupted.on_trial_result(name, {"val/loss": value, "training_iteration": step})
        uninterrupted.on_trial_complete(name, {"val/loss": trial.value, "training_iteration": 3})


def test_failures_and_missing_metrics_do_not_end_the_run(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("TUNE_DISABLE_STRICT_METRIC_CHECKING", "1")  # else Ray itself ends the run without the metric

    def train(config):
        from ray import tune

        if config["x"] < 0.2:
            raise ArithmeticError("too small")
        tune.report({"loss": float("nan") if config["x"] < 0.4 else config["x"]} if config["x"] < 0.6 else {"los": 1})

    points = [{"x": x} for x in (0.1, 0.3, 0.5, 0.7, 0.9)]
    search = HyperTuneSearch("tpe", points_to_evaluate=points, seed=0)
    results = fit(search, tmp_path, train, {"x": tune.uniform(0, 1)}, 5, metric="loss")
    assert ["too small" in str(error) for error in results.errors] == [True]
    states = {trial.params["x"]: trial.state.name for trial in search.study.trials}
    assert states == {0.1: "FAIL", 0.3: "FAIL", 0.5: "COMPLETE", 0.7: "FAIL", 0.9: "FAIL"}
    said = [record.message for record in caplog.records if record.name.startswith("hypertune")]
    assert said == ["HyperTuneSearch: results have no number 'loss': did you mean 'los'?"]


def test_mistakes_end_the_run_before_its_first_trial(tmp_path):
    x = {"x": FloatDistribution(0, 1)}
    with pytest.raises(SpaceError, match="given twice"):
        fit(HyperTuneSearch("tpe", x), tmp_path, self_tuning(), DOMAINS, 1)
    with pytest.raises(SpaceError, match=r"space\.x: Ray's Float with .*Normal"):
        fit(HyperTuneSearch("tpe"), tmp_path, self_tuning(), {"x": tune.randn(0, 1)}, 1)
    with pytest.raises(ConfigError, match="metric: given twice"):
        fit(HyperTuneSearch("tpe", metric="loss", mode="min"), tmp_path, self_tuning(), DOMAINS, 1)
    with pytest.raises(ConfigError, match="give both to HyperTuneSearch: without a param_space"):
        fit(HyperTuneSearch("tpe", x), tmp_path, self_tuning(), {}, 1)


def test_population_based_training_refuses_search_algorithms(tmp_path):
    scheduler = PopulationBasedTraining(hyperparam_mutations={"lr": tune.loguniform(1e-4, 1e-1)})
    with pytest.raises(ValueError, match="PopulationBasedTraining"):
        fit(HyperTuneSearch("tpe"), tmp_path, self_tuning(), DOMAINS, 1, scheduler=scheduler)


def test_the_example(tmp_path):
    path = Path(__file__).parents[2] / "examples" / "ray_tune_one_line.py"
    spec = importlib.util.spec_from_file_location("ray_tune_one_line", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.PARAM_SPACE["epochs"] = 5
    results, search = module.main(3, tmp_path)
    assert not results.errors
    for trial in search.study.trials:
        assert trial.state is TrialState.COMPLETE
        assert trial.user_attrs[TUNED]["weight_decay"] != trial.params["weight_decay"]
