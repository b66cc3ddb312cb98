"""Training a hypernetwork over a space, against closed forms; its predictions; its files."""

from __future__ import annotations

import copy
import math
import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import Tensor, nn
from torch.nn import functional

from hypertune.errors import ConfigError, FamilyError, SpaceError, StorageError, TrialError
from hypertune.families.cnn import FAMILY as CNN
from hypertune.families.contract import Family, build_model
from hypertune.families.mlp import FAMILY as MLP
from hypertune.records import TaskSpec
from hypertune.space import SearchSpace
from hypertune.tasks.contract import Task, TensorSplit
from hypertune.training._mip_coverage import find_coverage
from hypertune.training._mip_loop import HypernetworkLoop
from hypertune.training._mip_run import STATE
from hypertune.training._mip_setup import Setup
from hypertune.training.mip import HypernetworkSettings, load_predictor, train_hypernetwork
from hypertune.training.settings import TrainingSettings

SETTINGS = TrainingSettings(epochs=4, batch_size=16, device="cpu")
DECAYS = SearchSpace.from_mapping({"weight_decay": {"type": "float", "low": 1e-3, "high": 10.0, "log": True}})


class Ridge:
    """Ridge regression: the best weights, and so the validation loss, are known for every decay."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(3)
        x = torch.randn(96, 4, generator=generator)
        y = x @ torch.tensor([[1.5], [-1.2], [1.8], [0.2]]) + 1.0 * torch.randn(96, 1, generator=generator)
        self.train, self.val = TensorSplit(x[:32], y[:32]), TensorSplit(x[32:], y[32:])
        self.task = Task(TaskSpec("ridge", "regression", (4,), 1), self.train, self.val, None, self.loss, {})
        self.family = Family("linear", lambda params, task: nn.Linear(4, 1, bias=False), {})

    @staticmethod
    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        return 0.5 * (outputs - targets).square()[:, 0]

    def validation_loss(self, decay: float) -> float:
        x, y = self.train.x.double(), self.train.y.double()
        w = torch.linalg.solve(x.T @ x / 32 + decay * torch.eye(4).double(), x.T @ y / 32)
        return float(0.5 * (self.val.x.double() @ w - self.val.y.double()).square().mean())


@pytest.fixture(scope="module")
def ridge() -> Ridge:
    return Ridge()


def _train(ridge: Ridge, space: SearchSpace = DECAYS, **arguments: Any) -> Any:
    options = {"epochs": 3, "hidden": (6,), "draws": 4, "snapshots": 1} | arguments.pop("options", {})
    return train_hypernetwork(
        ridge.family,
        ridge.task,
        space,
        arguments.pop("settings", SETTINGS),
        options=HypernetworkSettings(**options),
        **arguments,
    )


def test_predictions_are_the_closed_form(ridge):
    """One hypernetwork learns the best response to every decay, and its slope."""
    options = {"epochs": 400, "hidden": (16, 8), "activation": "tanh", "lr": 2e-2, "draws": 8, "head": "full"}
    predictor = _train(ridge, settings=replace(SETTINGS, batch_size=32), options=options)
    points = np.linspace(0.05, 0.95, 19)[:, None]
    exact = np.array([ridge.validation_loss(DECAYS.decode(point)["weight_decay"]) for point in points])
    np.testing.assert_allclose(predictor.predict(points), exact, rtol=0.05)
    assert spearmanr(predictor.predict(points), exact).statistic > 0.95
    losses, slopes = predictor.gradient(points)
    np.testing.assert_allclose(losses, predictor.predict(points), rtol=1e-6)
    step = 5e-3
    differences = (predictor.predict(points + step) - predictor.predict(points - step)) / (2 * step)
    np.testing.assert_allclose(slopes[:, 0], differences, rtol=0.02, atol=2e-3)
    assert predictor.epochs == 400
    assert predictor.names == ("weight_decay",)
    assert predictor.seconds > 0


CLASSES = SearchSpace.from_mapping(
    {
        "lr": {"type": "float", "low": 1e-4, "high": 1e-1, "log": True},
        "width": {"type": "int", "low": 8, "high": 16},
        "activation": {"type": "categorical", "choices": ["relu", "tanh"]},
        "dropout": {"type": "categorical", "choices": [0.0, 0.25, 0.5]},
        "input_dropout": {"type": "float", "low": 0.0, "high": 0.5},
        "weight_decay": {"type": "float", "low": 1e-6, "high": 1e-1, "log": True},
        "input_noise": {"type": "float", "low": 0.0, "high": 1.0},
        "label_smoothing": {"type": "float", "low": 0.0, "high": 0.3, "step": 0.1},
    }
)


@pytest.mark.parametrize("head", ["full", "low_rank", "chunked", "gated"])
def test_every_head_learns_classes(make_classes, head):
    task = make_classes()
    losses: list[float] = []
    predictor = train_hypernetwork(
        MLP,
        task,
        CLASSES,
        SETTINGS,
        options=HypernetworkSettings(epochs=6, head=head, snapshots=1),
        progress=lambda now: losses.append(now.loss),
    )
    assert predictor.head == head
    assert predictor.names == ("dropout", "input_dropout", "weight_decay", "input_noise", "label_smoothing")
    assert set(predictor.uncovered) == {"lr", "width", "activation"}
    assert losses[-1] < losses[0]
    params = CLASSES.decode([0.5] * 8) | {"dropout": 0.25, "label_smoothing": 0.1}
    # What is predicted is the loss of the network that a trial would start from.
    covered = SearchSpace({name: CLASSES.distributions[name] for name in predictor.names})
    model = build_model(MLP, params, task.spec)
    model.load_state_dict(predictor.initial_weights(params))
    with torch.no_grad():
        outputs = model.eval()(task.val.x)
    expected = float(functional.cross_entropy(outputs.double(), task.val.y))
    assert predictor.predict(covered.encode(params)[None])[0] == pytest.approx(expected, rel=1e-5)
    slopes = predictor.gradient(np.full((2, 5), 0.5))[1]
    assert (slopes[:, 0] == 0).all()  # a choice
    assert (slopes[:, 1:] != 0).all()
    with pytest.raises(TrialError, match=r"model\..*another shape"):
        predictor.initial_weights({**params, "width": 9})


def test_same_seed_same_predictor_and_nothing_else_is_touched(ridge):
    points = np.random.default_rng(0).random((5, 1))
    torch.manual_seed(7)
    before = torch.get_rng_state()
    first, again, other = (_train(ridge, seed=seed).predict(points) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)


class _Killed(Exception):
    pass


@pytest.mark.parametrize("head", ["low_rank", "gated"])
def test_a_killed_training_continues_bit_by_bit(make_classes, tmp_path, head):
    task, points = make_classes(), np.random.default_rng(0).random((4, 5))
    settings = replace(SETTINGS, state_seconds=0.0)
    options = HypernetworkSettings(epochs=5, head=head, snapshots=2, rank=2)
    trials = [(CLASSES.decode(np.random.default_rng(k).random(8)), float(k % 3)) for k in range(5)]

    def train(folder: Any, kill_at: int | None) -> Any:
        def progress(now: Any) -> None:
            if now.epoch == kill_at:
                raise _Killed

        arguments = {"options": options, "folder": folder, "progress": progress, "trials": trials}
        return train_hypernetwork(MLP, task, CLASSES, settings, **arguments)

    for kill_at in (2, 4):
        with pytest.raises(_Killed):
            train(tmp_path, kill_at)
        assert (tmp_path / STATE).exists()
    continued = train(tmp_path, None)
    assert not (tmp_path / STATE).exists()
    whole = train(None, None)
    np.testing.assert_array_equal(continued.predict(points), whole.predict(points))
    assert continued.spearman == whole.spearman


def test_a_state_of_another_training_is_not_continued(ridge, tmp_path):
    settings = replace(SETTINGS, state_seconds=0.0)

    def stop(now: Any) -> None:
        if now.epoch == 2:
            raise _Killed

    with pytest.raises(_Killed):
        _train(ridge, settings=settings, folder=tmp_path, progress=stop)
    seen: list[int] = []
    _train(ridge, settings=settings, folder=tmp_path, seed=5, progress=lambda now: seen.append(now.epoch))
    assert seen == [1, 2, 3]


def _failing(ridge: Ridge, calls: set[int] | None) -> Task:
    """Give NaN at some calls of the loss; at all for None."""
    count = 0

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        nonlocal count
        count += 1
        losses = ridge.loss(outputs, targets)
        return losses * math.nan if calls is None or count in calls else losses

    return replace(ridge.task, loss=loss)


def test_recovers_from_a_loss_that_is_not_finite(ridge):
    task = _failing(ridge, {3, 4})
    options = HypernetworkSettings(epochs=3, hidden=(6,))
    predictor = train_hypernetwork(ridge.family, task, DECAYS, SETTINGS, options=options)
    assert predictor.epochs == 5  # two passes were taken back, and paid for
    assert np.isfinite(predictor.predict([[0.5]])).all()


def test_recovers_from_weights_that_are_not_finite(ridge):
    """A step of the last batch makes weights infinite, which no loss of the pass tells."""
    setup = Setup(
        ridge.family, ridge.task, DECAYS, SETTINGS, HypernetworkSettings(lr=5e37, grad_clip=None, epochs=1), {}, 0
    )
    loop = HypernetworkLoop(
        setup.network(),
        ridge.task,
        setup.options,
        passes=1,
        batch_size=32,  # one step a pass
        constants={},
        device=torch.device("cpu"),
        seed=0,
    )
    loop.run_pass()
    assert loop.recoveries == 1
    assert all(torch.isfinite(weight).all() for weight in loop.network.parameters())


def test_predictions_that_overflow_are_a_failure(ridge):
    with pytest.raises(TrialError, match=r"overflow.*lower sampler\.hypernetwork\.lr"):
        _train(ridge, settings=replace(SETTINGS, batch_size=32), options={"lr": 1e30, "grad_clip": None, "epochs": 1})


def test_gives_up_when_the_loss_is_never_finite(ridge):
    with pytest.raises(TrialError, match=r"not finite.*4th time.*lower sampler\.hypernetwork\.lr"):
        train_hypernetwork(ridge.family, _failing(ridge, None), DECAYS, SETTINGS)


def _real(ridge: Ridge, points: np.ndarray) -> list[tuple[dict[str, Any], float]]:
    configurations = [DECAYS.decode(point) for point in points]
    return [(params, ridge.validation_loss(params["weight_decay"])) for params in configurations]


def test_real_trials_end_training_when_they_are_ranked(ridge):
    trials = _real(ridge, np.linspace(0.5, 1.0, 8)[:, None])
    seen: list[float | None] = []
    predictor = _train(
        ridge,
        options={"epochs": 400, "checks": 40, "lr": 1e-2, "hidden": (32, 16), "target": 0.99},
        trials=trials,
        progress=lambda now: seen.append(now.spearman),
    )
    assert predictor.spearman is not None
    assert predictor.spearman >= 0.99
    assert predictor.epochs == len(seen) < 400
    covered = np.array([DECAYS.encode(params) for params, _ in trials])
    expected = spearmanr(predictor.predict(covered), [value for _, value in trials]).statistic
    assert predictor.spearman == pytest.approx(expected)


def test_the_state_that_ranked_best_is_kept_when_it_gets_worse(ridge):
    # No hypernetwork can rank these: patience ends it.
    rng = np.random.default_rng(0)
    trials = [(DECAYS.decode(rng.random(1)), float(rng.random())) for _ in range(8)]
    predictor = _train(ridge, options={"epochs": 100, "checks": 100, "patience": 2}, trials=trials)
    assert predictor.epochs < 100
    covered = np.array([DECAYS.encode(params) for params, _ in trials])
    expected = spearmanr(predictor.predict(covered), [value for _, value in trials]).statistic
    assert predictor.spearman == pytest.approx(expected)


def test_a_metric_that_is_maximized_is_ranked_the_other_way(ridge):
    trials = _real(ridge, np.linspace(0.5, 1.0, 6)[:, None])
    options = {"epochs": 2, "checks": 1, "patience": None}
    low = _train(ridge, options=options, trials=trials)
    high = _train(ridge, options=options, trials=trials, settings=replace(SETTINGS, direction="maximize"))
    assert high.spearman == pytest.approx(-low.spearman)


def test_snapshots_are_averaged(ridge):
    points = np.random.default_rng(0).random((5, 1))
    options = {"epochs": 4, "lr": 3e-2}
    ensemble = _train(ridge, options=options | {"snapshots": 2})
    members = [ensemble.__class__.predict(_one(ensemble, index), points) for index in range(2)]
    np.testing.assert_allclose(ensemble.predict(points), np.mean(members, axis=0), rtol=1e-6)
    assert not np.allclose(members[0], members[1], rtol=1e-3)
    np.testing.assert_array_equal(members[1], _train(ridge, options=options).predict(points))
    loss, slope = ensemble.gradient(points)
    parts = [_one(ensemble, index).gradient(points) for index in range(2)]
    np.testing.assert_allclose(loss, np.mean([part[0] for part in parts], axis=0), rtol=1e-6)
    np.testing.assert_allclose(slope, np.mean([part[1] for part in parts], axis=0), rtol=1e-4, atol=1e-6)


def _one(ensemble: Any, index: int) -> Any:
    member = copy.copy(ensemble)
    member._networks = [ensemble._networks[index]]
    return member


def test_a_region_of_interest_is_learned_better(ridge):
    points = np.linspace(0.75, 0.85, 5)[:, None]
    exact = [ridge.validation_loss(DECAYS.decode(point)["weight_decay"]) for point in points]

    def error(region: Any) -> float:
        options = {"epochs": 30, "lr": 2e-2, "region_share": 1.0, "hidden": (8,)}
        return float(np.abs(_train(ridge, options=options, region=region).predict(points) - exact).mean())

    assert error(([[0.8]], 0.05)) < 0.5 * error(([[0.1]], 0.05))
    with pytest.raises(SpaceError, match="region"):
        _train(ridge, region=([[0.5, 0.5]], 0.1))
    with pytest.raises(SpaceError, match="region"):
        _train(ridge, region=([[0.5]], 0.0))


IMAGES = SearchSpace.from_mapping({"dropout": {"type": "float", "low": 0.0, "high": 0.6}})


def test_batch_normalization_gets_the_statistics_of_the_predicted_weights(make_classes):
    task = make_classes(n=40)
    setting = {"width": 8, "depth": 1}
    predictor = train_hypernetwork(CNN, task, IMAGES, SETTINGS, options=HypernetworkSettings(epochs=2), setting=setting)
    model = build_model(CNN, {**setting, "dropout": 0.3}, task.spec)
    model.load_state_dict(predictor.initial_weights({**setting, "dropout": 0.3}))
    norm = next(module for module in model.modules() if isinstance(module, nn.BatchNorm2d))
    inputs: list[Tensor] = []
    norm.register_forward_pre_hook(lambda module, args: inputs.append(args[0]))
    with torch.no_grad():
        model.eval()(task.train.x)
    torch.testing.assert_close(norm.running_mean, inputs[0].mean((0, 2, 3)), rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(norm.running_var, inputs[0].var((0, 2, 3)), rtol=1e-3, atol=1e-5)


def test_saved_and_loaded(make_classes, tmp_path):
    task, points = make_classes(), np.random.default_rng(0).random((6, 5))
    path = tmp_path / "run" / "hypernetwork.pt"
    options = HypernetworkSettings(epochs=2, snapshots=2)
    predictor = train_hypernetwork(MLP, task, CLASSES, SETTINGS, options=options)
    predictor.save(path)

    def load(
        family: Family = MLP, task: Task = task, space: SearchSpace = CLASSES, options: Any = options, **rest: Any
    ) -> Any:
        return load_predictor(path, family, task, space, SETTINGS, options=options, **rest)

    loaded = load()
    np.testing.assert_array_equal(loaded.predict(points), predictor.predict(points))
    assert (loaded.epochs, loaded.seconds, loaded.spearman) == (predictor.epochs, predictor.seconds, None)
    assert loaded.uncovered == predictor.uncovered
    # How long it trained is no part of what it is.
    load(options=replace(options, epochs=9))

    mapping = CLASSES.to_mapping()
    wider = SearchSpace.from_mapping({**mapping, "input_noise": {"type": "float", "low": 0.0, "high": 2.0}})
    with pytest.raises(ConfigError, match=r"space\.input_noise: .* another space"):
        load(space=wider)
    with pytest.raises(ConfigError, match=r"space\.label_smoothing"):
        load(space=SearchSpace({n: d for n, d in CLASSES.distributions.items() if n != "label_smoothing"}))
    with pytest.raises(ConfigError, match=r"model\..*another model"):
        load(setting={"width": 9})
    with pytest.raises(ConfigError, match=r"setting\.lr"):
        load(setting={"lr": 0.02})
    with pytest.raises(ConfigError, match=r"task\.(train|val): .* another task"):
        load(task=make_classes(seed=1))
    with pytest.raises(ConfigError, match=r"hypernetwork\.hidden"):
        load(options=replace(options, hidden=(8, 8)))
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(StorageError, match="not a readable hypernetwork"):
        load()
    path.unlink()
    with pytest.raises(StorageError, match="missing"):
        load()


def test_a_reserved_part_of_validation_is_not_looked_at(ridge):
    settings = replace(SETTINGS, reserve=0.25)
    predictor = _train(ridge, settings=settings)
    assert sum(len(x) for x, _ in predictor._validation) == 48


def test_coverage_names_what_is_left_out_and_why():
    space = SearchSpace.from_mapping(
        {
            **CLASSES.to_mapping(),
            "optimizer": {"type": "categorical", "choices": ["adamw"]},
            "shift": {"type": "float", "low": 0.0, "high": 0.2, "when": {"activation": "relu"}},
            "rotate": {"type": "float", "low": 0.0, "high": 30.0},
            "input_noise": {"type": "float", "low": 0.3, "high": 0.3},
        }
    )
    spec = TaskSpec("table", "classification", (4,), 3)
    coverage = find_coverage(space, MLP, spec, setting={}, bind={})
    assert coverage.space.names == ("dropout", "input_dropout", "label_smoothing")
    assert "condition" in coverage.uncovered["shift"]
    assert "decoupled" in coverage.uncovered["weight_decay"]
    assert "no numbers" in coverage.uncovered["activation"]
    assert "one value" in coverage.uncovered["input_noise"]
    assert coverage.uncovered["rotate"] == "the task has no use for it"
    assert "not the loss" in coverage.uncovered["lr"]
    assert set(coverage.bind) == {"dropout", "input_dropout"}
    assert coverage.setting["width"] == 12


def test_nothing_to_condition_on(ridge):
    space = SearchSpace.from_mapping({"lr": {"type": "float", "low": 1e-4, "high": 1e-1, "log": True}})
    with pytest.raises(SpaceError, match=r"nothing to condition on.*lr: .*Fix: add one, or use sampler: gp"):
        _train(ridge, space)


def test_bad_input(ridge, make_classes):
    with pytest.raises(SpaceError, match=r"hypernetwork\.bind\.x"):
        _train(ridge, options={"bind": {"x": "*"}})
    with pytest.raises(ConfigError, match=r"full: .*parameters.*Fix: use a head that fits: chunked, gated"):
        train_hypernetwork(
            MLP,
            make_classes(),
            CLASSES,
            SETTINGS,
            options=HypernetworkSettings(head="full", hidden=(16, 128), max_parameters=30_000),
        )
    with pytest.raises(FamilyError):
        train_hypernetwork(CNN, ridge.task, IMAGES, SETTINGS)
    predictor = _train(ridge)
    for points in ([0.5], [[0.5, 0.5]], [[math.nan]]):
        with pytest.raises(SpaceError, match="points"):
            predictor.predict(points)
    assert predictor.predict(np.empty((0, 1))).shape == (0,)
    assert predictor.gradient(np.empty((0, 1)))[1].shape == (0, 1)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", 0),
        ("trials", 0.0),
        ("draws", True),
        ("lr", math.nan),
        ("target", 1.5),
        ("region_share", -0.1),
        ("patience", 0),
        ("snapshots", 1.5),
    ],
)
def test_settings_out_of_range(name, value):
    with pytest.raises(ConfigError, match=rf"sampler\.hypernetwork\.{name}"):
        HypernetworkSettings(**{name: value})


def test_a_thousand_configurations_in_a_minute():
    """A tenth of them, on as many images and weights as the benchmark's perceptron has, in a tenth of the time."""
    generator = torch.Generator().manual_seed(0)

    def split(size: int) -> TensorSplit:
        return TensorSplit(
            torch.randn(size, 784, generator=generator), torch.randint(0, 10, (size,), generator=generator)
        )

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        return functional.cross_entropy(outputs, targets, reduction="none")

    task = Task(TaskSpec("images", "classification", (784,), 10), split(64), split(1000), None, loss, {})
    options = HypernetworkSettings(epochs=1)
    predictor = train_hypernetwork(MLP, task, CLASSES, SETTINGS, options=options, setting={"width": 256, "depth": 2})
    assert predictor.head == "full"
    points = np.random.default_rng(0).random((100, 5))
    started = time.process_time()
    assert np.isfinite(predictor.predict(points)).all()
    assert time.process_time() - started < 6.0
