from __future__ import annotations

import logging
import math

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState
from ray import tune
from ray.tune.search import ConcurrencyLimiter, Repeater, Searcher

from hypertune.errors import ConfigError, HypertuneError, SpaceError
from hypertune.ray import HyperTuneSearch, STNSearch
from hypertune.records import TUNED
from hypertune.space import SearchSpace

from .conftest import DOMAINS, loss, run_trials

X = {"x": FloatDistribution(0.0, 1.0)}


def make(sampler="random", space=X, **options):
    return HyperTuneSearch(sampler, space, metric="loss", mode="min", seed=0, **options)


def result(value, step=1, **more):
    return {"loss": value, "training_iteration": step, **more}


# Where the space comes from


@pytest.mark.parametrize(
    "space",
    [
        {
            "lr": FloatDistribution(1e-4, 1e-1, log=True),
            "net": {"depth": IntDistribution(1, 4), "act": CategoricalDistribution(["relu", "gelu"])},
        },
        SearchSpace(
            {
                "lr": FloatDistribution(1e-4, 1e-1, log=True),
                "net/depth": IntDistribution(1, 4),
                "net/act": CategoricalDistribution(["relu", "gelu"]),
            }
        ),
        {
            "lr": {"type": "float", "low": 1e-4, "high": 0.1, "log": True},
            "net/depth": {"type": "int", "low": 1, "high": 4},
            "net/act": {"choices": ["relu", "gelu"]},
        },
        DOMAINS,
    ],
    ids=["distributions", "SearchSpace", "yaml", "domains"],
)
def test_every_form_of_one_space_is_the_same_search(space, ready):
    given = HyperTuneSearch("tpe", space, metric="loss", mode="min", seed=3)
    from_ray = ready(HyperTuneSearch("tpe", seed=3))
    names = [str(i) for i in range(14)]
    assert run_trials(given, names) == run_trials(from_ray, names)


def test_a_shipped_space_is_found_by_name():
    config = STNSearch("phnn", metric="loss", mode="min", seed=0).suggest("a")
    assert SearchSpace.load("phnn").validate(config) == config  # of the conditional ones exactly those that exist


def test_configs_are_nested_and_plain(ready):
    config = ready(HyperTuneSearch("random", seed=0)).suggest("a")
    assert set(config) == {"lr", "net"}
    assert type(config["lr"]) is float
    assert type(config["net"]["depth"]) is int
    assert type(config["net"]["act"]) is str


def test_constants_of_param_space_stay_rays(ready):
    domains = {"x": tune.uniform(0, 1), "epochs": 5, "data": [object()], "net": {"bias": True}}
    assert set(ready(HyperTuneSearch("random", seed=0), domains).suggest("a")) == {"x"}


def test_conditional_hyperparameters_exist_only_when_their_condition_holds():
    space = {
        "optimizer": {"choices": ["sgd", "adam"]},
        "momentum": {"type": "float", "low": 0, "high": 1, "when": {"optimizer": "sgd"}},
    }
    search = make("tpe", space)
    configs = run_trials(search, map(str, range(30)), value=lambda config, step: config.get("momentum", 0.5))
    assert {config["optimizer"] for config in configs} == {"sgd", "adam"}
    assert all(("momentum" in config) == (config["optimizer"] == "sgd") for config in configs)


@pytest.mark.parametrize(
    ("domains", "message"),
    [
        ({"p": tune.randn(0, 1)}, r"space\.p: Ray's Float with .*Normal.* has no equivalent"),
        ({"net": {"p": tune.qloguniform(1e-4, 1, 5e-5)}}, r"space\.net/p: Ray's .* has no equivalent"),
        ({"p": tune.grid_search([1, 2])}, r"space\.p: Ray's grid_search has no equivalent"),
        ({"p": tune.sample_from(lambda spec: 1)}, r"space\.p: Ray's Function.* has no equivalent"),
        ({"p": [1, tune.uniform(0, 1)]}, r"param_space\.p\.1: a domain inside a list"),
        ({"p": [{"q": tune.uniform(0, 1)}]}, r"param_space\.p\.0: a domain inside a list"),
        ({"p": tune.choice([(1, 2), (3, 4)])}, r"space\.p\.choices\.0: Ray's choice among objects.*by its name"),
        ({"p": 1}, r"param_space: there is nothing to search"),
        ({"p": tune.uniform(0, 1), "p/q": tune.uniform(0, 1)}, r"space\.p/q: a name that is also the start"),
    ],
)
def test_domains_without_equivalent_are_refused_by_name(domains, message):
    with pytest.raises(SpaceError, match=message):
        HyperTuneSearch().set_search_properties("loss", "min", domains)


def test_a_space_given_twice_is_refused():
    with pytest.raises(SpaceError, match=r"given twice.*given \['y'\]"):
        make().set_search_properties(None, None, {"y": tune.uniform(0, 1)})
    with pytest.raises(SpaceError, match=r"param_space\.x: fixed by param_space and searched"):
        make().set_search_properties(None, None, {"x": 0.5})
    assert make().set_search_properties(None, None, {"epochs": 3})


def test_a_search_continues_in_a_second_run_of_the_same_space_only(ready):
    search = ready(HyperTuneSearch("random", seed=0))
    first = run_trials(search, ["a"])
    ready(search)
    assert search.study.trials[0].params["lr"] == first[0]["lr"]
    with pytest.raises(SpaceError, match=r"begun with another param_space.*lr: .*absent there"):
        ready(search, {"x": tune.uniform(0, 1)})


def test_no_space_at_all():
    with pytest.raises(SpaceError, match="nothing to search yet"):
        HyperTuneSearch("random", metric="loss", mode="min").suggest("a")


@pytest.mark.parametrize("space", [3, [X]])
def test_what_is_no_space(space):
    with pytest.raises(SpaceError, match="not a search space"):
        make(space=space)


# Metric and mode


def test_metric_and_mode_from_either_side(ready):
    for search in (
        ready(HyperTuneSearch("random"), metric="loss", mode="max"),
        ready(HyperTuneSearch("random", metric="loss", mode="max"), metric=None, mode=None),
        ready(HyperTuneSearch("random", metric="loss"), metric=None, mode="max"),
        ready(HyperTuneSearch("random", X), {"epochs": 1}, metric="loss", mode="max"),
        ready(HyperTuneSearch("random", X, mode="max"), {"epochs": 1}, metric="loss", mode=None),
        ready(HyperTuneSearch("random", metric="loss", mode="max"), metric="loss", mode="max"),
    ):
        assert (search.metric, search.mode) == ("loss", "max")
        run_trials(search, ["a", "b"], value=lambda config, step: 1.0)
        assert search.study.direction is optuna.study.StudyDirection.MAXIMIZE
        assert search.study.best_value == 1.0


def test_a_trainable_that_returns_its_value_needs_no_metric():
    search = HyperTuneSearch("random", X, mode="max")
    search.suggest("a")
    search.on_trial_complete("a", {"_metric": 0.25, "training_iteration": 1})
    assert search.study.best_value == 0.25


def test_metric_and_mode_that_nobody_gave():
    with pytest.raises(
        ConfigError, match=r"metric and mode are not known.*give both to STNSearch: without a param_space"
    ):
        STNSearch(X).suggest("a")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mode": "minimize"}, "mode: unknown mode"),
        ({"metric": ["a", "b"], "mode": ["min", "max"]}, "several objectives"),
        ({"sampler": "tpee"}, "unknown sampler 'tpee'.*did you mean 'tpe'"),
        ({"sampler": object()}, "sampler: not a sampler"),
        ({"sampler": optuna.samplers.RandomSampler(), "seed": 1}, "seed: an option of a sampler that is built already"),
        (
            {"sampler": optuna.samplers.RandomSampler(), "n_startup": 1},
            "n_startup: an option of a sampler that is built",
        ),
        ({"sampler": "stn", "n_start": 3}, r"sampler\.n_start: STNSampler has no such option.*did you mean"),
        ({"max_t": 0}, "max_t: not a number of iterations"),
        ({"points_to_evaluate": {"x": 0.5}}, "points_to_evaluate: not a list of configs"),
        ({"points_to_evaluate": [{"y": 0.5}]}, r"points_to_evaluate\.0\.y: unknown hyperparameter.*'x'|use one of x"),
        ({"points_to_evaluate": [{"x": 0.5}, {"x": 2.0}]}, r"points_to_evaluate\.1\.x: value is outside"),
        (
            {"points_to_evaluate": [{"x": 0.5}], "evaluated_rewards": [1, 2]},
            "evaluated_rewards: not one value for each",
        ),
        ({"points_to_evaluate": [{}], "evaluated_rewards": [1]}, r"points_to_evaluate\.0\.x: value is missing"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(HypertuneError, match=message):
        HyperTuneSearch(**{"sampler": "random", "space": X, "metric": "loss", "mode": "min", **arguments})


def test_metric_or_mode_given_twice_must_agree(ready):
    with pytest.raises(ConfigError, match="metric: given twice"):
        ready(HyperTuneSearch("random", metric="accuracy", mode="min"))
    with pytest.raises(ConfigError, match="mode: given twice"):
        ready(HyperTuneSearch("random", metric="loss", mode="max"))


def test_a_missing_metric_is_said_once_and_fails_only_its_trial(caplog):
    search = make()
    with caplog.at_level(logging.WARNING):
        for name in ("a", "b"):
            search.suggest(name)
            other = {"losses": 1.0, "training_iteration": 1, "config/x": 0.1, "time_total_s": 2.0}
            search.on_trial_result(name, other)
            search.on_trial_complete(name, other)
        run_trials(search, ["c"], value=lambda config, step: 0.5)
    assert [record.message for record in caplog.records] == [
        "HyperTuneSearch: results have no number 'loss': did you mean 'losses'?"
    ]
    states = [trial.state for trial in search.study.trials]
    assert states == [TrialState.FAIL, TrialState.FAIL, TrialState.COMPLETE]


@pytest.mark.parametrize("value", ["high", None, [1.0]])
def test_a_metric_that_is_no_number_counts_as_missing(value, caplog):
    search = make()
    search.suggest("a")
    search.on_trial_complete("a", result(value))
    assert search.study.trials[0].state is TrialState.FAIL
    assert "results have no number 'loss'" in caplog.text


# How trials end


@pytest.mark.parametrize("last", [math.nan, float("nan")])
def test_a_nan_fails_the_trial_and_the_search_goes_on(last):
    search = make("tpe")
    search.suggest("a")
    search.on_trial_result("a", result(0.3))
    search.on_trial_result("a", result(last, 2))
    search.on_trial_complete("a", result(last, 2))
    assert search.study.trials[0].state is TrialState.FAIL
    assert len(run_trials(search, map(str, range(12)), value=lambda config, step: config["x"])) == 12


@pytest.mark.parametrize("sampler", ["stn", "tpe", "random", "cmaes", "qmc"])
@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_any_value_leaves_samplers_able_to_propose(sampler, value):
    search = make(sampler, {**X, "y": FloatDistribution(0, 1)})
    values = [value, 0.5, value, *(i / 10 for i in range(12))]
    configs = run_trials(search, map(str, range(15)), value=lambda config, step: values[len(search.study.trials) - 1])
    assert len(configs) == 15


def test_an_error_fails_the_trial():
    search = make()
    search.suggest("a")
    search.on_trial_result("a", result(0.1))
    search.on_trial_complete("a", error=True)
    trial = search.study.trials[0]
    assert trial.state is TrialState.FAIL
    assert trial.intermediate_values == {1: 0.1}


def test_a_failed_trial_that_ray_runs_again_is_a_trial_of_its_own():
    search = make()
    config = search.suggest("a")
    search.on_trial_complete("a", error=True)
    search.on_trial_result("a", result(0.4))
    assert [t.state for t in search.study.trials] == [TrialState.FAIL, TrialState.RUNNING]
    search.on_trial_complete("a", result(0.2, 2))
    again = search.study.trials[1]
    assert (again.state, again.value, again.params) == (TrialState.COMPLETE, 0.2, config)
    assert again.intermediate_values == {1: 0.4, 2: 0.2}


def test_a_stopped_trial_keeps_its_last_value():
    search = make()
    search.suggest("a")
    search.on_trial_result("a", result(0.5))
    search.on_trial_complete("a", result(0.4, 2))  # Ray does not show this one before, when a scheduler stops the trial
    search.suggest("b")
    search.on_trial_result("b", result(0.3))
    search.on_trial_complete("b")  # a paused trial that is stopped comes without a result
    first, second = search.study.trials
    assert (first.state, first.value, first.intermediate_values) == (TrialState.COMPLETE, 0.4, {1: 0.5, 2: 0.4})
    assert (second.state, second.value) == (TrialState.COMPLETE, 0.3)


def test_with_max_t_a_short_trial_counts_as_pruned():
    search = make(max_t=3)
    for name, steps in (("a", 2), ("b", 3)):
        search.suggest(name)
        for step in range(1, steps):
            search.on_trial_result(name, result(1 / step, step))
        search.on_trial_complete(name, result(1 / steps, steps))
    first, second = search.study.trials
    assert (first.state, first.value) == (TrialState.PRUNED, 0.5)
    assert (second.state, second.value) == (TrialState.COMPLETE, 1 / 3)


def test_with_max_t_a_paused_trial_that_is_stopped_counts_as_pruned_and_a_nan_as_failed():
    search = make(max_t=3)
    for name in ("paused", "diverged"):
        search.suggest(name)
        search.on_trial_result(name, result(0.5))
    search.on_trial_complete("paused")
    search.on_trial_complete("diverged", result(math.nan, 2))
    assert [(t.state.name, t.value) for t in search.study.trials] == [("PRUNED", 0.5), ("FAIL", None)]


def test_a_trial_that_was_never_run_ends_without_value():
    search = make()
    search.suggest("a")
    search.on_trial_complete("a")
    assert search.study.trials[0].state is TrialState.FAIL


def test_unknown_and_ended_trials_are_left_out(caplog):
    search = make()
    search.on_trial_result("nobody", result(0.1))
    search.on_trial_complete("nobody", result(0.1))
    search.on_trial_complete("nobody")
    run_trials(search, ["a"], value=lambda config, step: 0.5)
    search.on_trial_result("a", result(0.1, 9))
    search.on_trial_complete("a", result(0.1, 9))
    assert [trial.value for trial in search.study.trials] == [0.5]
    assert len(caplog.records) == 2


def test_a_trial_that_ray_knows_and_the_search_does_not_is_learned_from():
    search = make()
    search.on_trial_result("lost", result(0.7, config={"x": 0.25}))
    search.on_trial_complete("lost", {"loss": 0.6, "training_iteration": 2, "config/x": 0.25})
    trial = search.study.trials[0]
    assert (trial.state, trial.value, trial.params) == (TrialState.COMPLETE, 0.6, {"x": 0.25})
    search.on_trial_complete("other", {"loss": 0.6, "training_iteration": 2, "config/x": 7.0})
    assert len(search.study.trials) == 1


def test_running_trials_are_known_to_the_sampler():
    seen = []

    class Watching(optuna.samplers.RandomSampler):
        def sample_independent(self, study, trial, name, distribution):
            states = (TrialState.RUNNING,)
            seen.append([t.params for t in study.get_trials(states=states) if t.number != trial.number])
            return super().sample_independent(study, trial, name, distribution)

    search = HyperTuneSearch(Watching(seed=0), X, metric="loss", mode="min")
    a = search.suggest("a")
    b = search.suggest("b")
    search.on_trial_complete("a", result(1.0))
    search.suggest("c")
    assert seen == [[], [a], [b]]


def test_asking_again_for_a_trial_gives_its_config():
    search = make()
    assert search.suggest("a") == search.suggest("a")
    assert len(search.study.trials) == 1


def test_a_sampler_that_has_nothing_left_ends_the_run():
    search = HyperTuneSearch(optuna.samplers.GridSampler({"x": [0.1, 0.5, 0.9]}, seed=0), X, metric="loss", mode="min")
    configs = run_trials(search, map(str, range(9)), value=lambda config, step: config["x"])
    assert sorted(config["x"] for config in configs) == [0.1, 0.5, 0.9]
    assert search.suggest("more") == Searcher.FINISHED


# Tuned values


@pytest.mark.parametrize(
    "tuned",
    [
        {"tuned/x": 0.75, "tuned/net/rate": 0.125},
        {"tuned": {"x": 0.75, "net": {"rate": 0.125}}},
    ],
)
def test_tuned_values_reach_the_study(tuned):
    search = make(space={**X, "net": {"rate": FloatDistribution(0, 1)}})
    search.suggest("a")
    search.on_trial_result("a", result(0.5, tuned={"x": 0.5, "net": {"rate": 0.5}}))
    search.on_trial_complete("a", result(0.4, 2, **tuned))
    assert search.study.trials[0].user_attrs[TUNED] == {"x": 0.75, "net/rate": 0.125}


def test_tuned_values_that_mean_nothing_are_left_out(caplog):
    search = make()
    search.suggest("a")
    for step in (1, 2):
        search.on_trial_result("a", result(0.5, step, tuned={"xx": 1.0, "x": math.nan}))
    search.on_trial_complete("a", result(0.5, 3, tuned={"x": "much"}))
    assert TUNED not in search.study.trials[0].user_attrs
    assert [record.message for record in caplog.records] == [
        "HyperTuneSearch: tuned/xx is reported, and the space has no xx: did you mean 'x'?"
    ]


def test_stn_search_starts_where_tuning_ended():
    space = {"lr": FloatDistribution(1e-4, 1e-1, log=True), "rate": FloatDistribution(0.0, 1.0)}
    starts = {}
    for end in (0.1, 0.9):
        search = STNSearch(space, "loss", "min", seed=1, self_tuned=["rate"], explore=0.0, follow=1.0)
        for i in range(12):
            config = search.suggest(str(i))
            final = result(abs(math.log10(config["lr"]) + 2), tuned={"rate": end})
            search.on_trial_result(str(i), final)
            search.on_trial_complete(str(i), final)
        starts[end] = [trial.params["rate"] for trial in search.study.trials[6:]]
    assert max(starts[0.1]) < 0.5 < min(starts[0.9])


# Points


def test_points_come_first_and_may_leave_values_out(ready):
    points = [{"lr": 0.01, "net": {"depth": 2, "act": "gelu"}}, {"net/depth": 4}]
    search = ready(HyperTuneSearch("tpe", points_to_evaluate=points, seed=0))
    configs = run_trials(search, map(str, range(3)))
    assert configs[0] == {"lr": 0.01, "net": {"depth": 2, "act": "gelu"}}
    assert configs[1]["net"]["depth"] == 4
    assert 1e-4 <= configs[1]["lr"] <= 1e-1
    assert all(trial.state is TrialState.COMPLETE for trial in search.study.trials)


def test_evaluated_rewards_are_not_evaluated_again():
    search = make(points_to_evaluate=[{"x": 0.25}, {"x": 0.5}, {"x": 0.75}], evaluated_rewards=[3, 1.0, math.nan])
    assert [t.state for t in search.study.trials] == [TrialState.COMPLETE, TrialState.COMPLETE, TrialState.FAIL]
    assert search.study.best_params == {"x": 0.5}
    assert search.suggest("a")["x"] not in (0.25, 0.5, 0.75)


def test_points_evaluated_elsewhere(ready):
    search = ready(HyperTuneSearch("tpe", seed=0))
    config = {"lr": 0.01, "net": {"depth": 2, "act": "gelu"}, "epochs": 5}
    search.add_evaluated_point(config, 0.5)
    search.add_evaluated_point(config, None, error=True)
    search.add_evaluated_point(config, 0.8, pruned=True)
    search.add_evaluated_point(config, 0.6, pruned=True, intermediate_values=[0.9, 0.6])
    assert [(t.state.name, t.value) for t in search.study.trials] == [
        ("COMPLETE", 0.5),
        ("FAIL", None),
        ("PRUNED", 0.8),
        ("PRUNED", 0.6),
    ]
    assert search.study.trials[3].intermediate_values == {1: 0.9, 2: 0.6}
    with pytest.raises(SpaceError, match=r"parameters\.net/depth: value is missing"):
        search.add_evaluated_point({"lr": 0.01, "net": {"act": "gelu"}}, 0.5)
    run_trials(search, map(str, range(12)))


# Inside Ray's own wrappers


def test_a_concurrency_limiter_keeps_the_sequence(ready):
    alone = run_trials(ready(HyperTuneSearch("tpe", seed=5)), map(str, range(12)))
    inner = HyperTuneSearch("tpe", seed=5)
    limited = ready(ConcurrencyLimiter(inner, max_concurrent=2))
    assert run_trials(limited, map(str, range(12))) == alone
    assert limited.suggest("a") is not None
    assert limited.suggest("b") is not None
    assert limited.suggest("c") is None
    assert sum(t.state is TrialState.RUNNING for t in inner.study.trials) == 2


def test_a_batch_ends_together(ready):
    inner = HyperTuneSearch("tpe", seed=5)
    limited = ready(ConcurrencyLimiter(inner, max_concurrent=2, batch=True))
    configs = {name: limited.suggest(name) for name in ("a", "b")}
    limited.on_trial_complete("a", result(loss(configs["a"])))
    assert limited.suggest("c") is None
    assert all(t.state is TrialState.RUNNING for t in inner.study.trials)
    limited.on_trial_complete("b", result(loss(configs["b"])))
    assert [t.value for t in inner.study.trials] == [loss(configs["a"]), loss(configs["b"])]


def test_a_repeater_tells_the_mean(ready):
    inner = HyperTuneSearch("tpe", seed=5)
    repeater = ready(Repeater(inner, repeat=3))
    configs = [repeater.suggest(name) for name in "abcdef"]
    assert [config.pop("__trial_index__") for config in configs] == [0, 1, 2, 0, 1, 2]
    assert configs[0] == configs[1] == configs[2] != configs[3]
    for name, value in zip("abc", (1.0, 2.0, 6.0), strict=True):
        repeater.on_trial_result(name, result(value))
        repeater.on_trial_complete(name, result(value))
    for name, value in zip("de", (1.0, 3.0), strict=True):
        repeater.on_trial_complete(name, result(value))
    repeater.on_trial_complete("f", None, error=True)
    assert [trial.value for trial in inner.study.trials] == [3.0, 2.0]


def test_rays_ids_are_on_the_trials():
    search = make()
    search.suggest("a1b2")
    assert search.study.trials[0].user_attrs == {"ray:trial_id": "a1b2"}
