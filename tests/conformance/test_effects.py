"""What every effect has to keep; a new file in hypertune/effects is tested without a line here."""

import pytest
import torch

from hypertune import registry
from hypertune.effects.contract import Effect
from hypertune.effects.pipeline import Effects, TrainingBatch
from hypertune.records import TaskSpec

SPECS = [
    TaskSpec("images", "classification", (2, 9, 7), 4),
    TaskSpec("table", "classification", (13,), 3),
    TaskSpec("targets", "regression", (5,), 2),
    TaskSpec("signal", "classification", (2, 24), 3),
]
EFFECTS = registry.names("effect")
BATCH = 12


def effect_named(name):
    return registry.load("effect", name)


def cases():
    found = []
    for name in EFFECTS:
        taken = [spec for spec in SPECS if effect_named(name).problem(spec) is None]
        assert taken, f"{name} has a use for no task"
        found += [pytest.param(name, spec, id=f"{name}-{spec.name}") for spec in taken]
    return found


CASES = pytest.mark.parametrize(("name", "spec"), cases())


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def data(spec, dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(BATCH, *spec.input_shape, generator=generator).to(dtype)
    outputs = torch.randn(BATCH, spec.output_size, generator=generator).to(dtype)
    if spec.kind == "classification":
        y = torch.arange(BATCH) % spec.output_size
    else:
        y = torch.randn(BATCH, spec.output_size, generator=generator).to(dtype)
    return x, y, outputs


def loss_of(spec):
    if spec.kind == "classification":
        return lambda outputs, targets: torch.nn.functional.cross_entropy(outputs, targets, reduction="none")
    return lambda outputs, targets: (outputs - targets).square().mean(dim=1)


def strong(effect):
    """Values inside the ranges at which everything acts."""
    return {
        name: known.low + 0.4 * (min(known.high, known.low + 2.0 if known.high > 1000 else known.high) - known.low)
        for name, known in effect.hyperparameters.items()
    }


def off(effect):
    """At the low end an effect does nothing: a strength of 0."""
    return {name: known.low for name, known in effect.hyperparameters.items()}


def run(effect, spec, values, *, seed=0, dtype=torch.float32, batches=1):
    """Return what the last of some batches became, and its losses."""
    effects = Effects(effect.hyperparameters, seed=seed)
    x, y, outputs = data(spec, dtype)
    for _ in range(batches):
        batch = effects.apply(x, y, values)
    return batch, effects.example_losses(loss_of(spec), outputs, batch, values)


def same(a, b, rtol=0.0, atol=0.0):
    (first, losses), (second, others) = a, b
    torch.testing.assert_close(first.x, second.x, rtol=rtol, atol=atol)
    torch.testing.assert_close(losses, others, rtol=rtol, atol=atol)


def differ(a, b):
    return not torch.equal(a[0].x, b[0].x) or not torch.equal(a[1], b[1])


def mixed(low, high, pattern):
    return {name: torch.where(pattern, torch.tensor(high[name]), torch.tensor(low[name])) for name in low}


@pytest.mark.parametrize("name", EFFECTS)
def test_it_declares_what_it_reads(name):
    effect = effect_named(name)
    assert isinstance(effect, Effect)
    assert effect.hyperparameters
    for known in effect.hyperparameters.values():
        assert known.doc.strip()
        assert "\n" not in known.doc
        assert known.low < known.high
        assert known.low <= known.default <= known.high


@CASES
def test_it_acts_and_repeats_with_the_seed(name, spec):
    effect = effect_named(name)
    values = strong(effect)
    made = run(effect, spec, values)
    assert differ(made, run(effect, spec, off(effect)))
    same(made, run(effect, spec, values))


@CASES
def test_a_strength_of_zero_is_exactly_the_identity(name, spec):
    effect = effect_named(name)
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        x, y, outputs = data(spec, dtype)
        # Alone, and beside an example on which it acts.
        for values in (off(effect), mixed(off(effect), strong(effect), torch.arange(BATCH) == BATCH - 1)):
            batch, losses = run(effect, spec, values, dtype=dtype)
            assert torch.equal(batch.x[:-1], x[:-1])
            assert torch.equal(losses[:-1], loss_of(spec)(outputs, y)[:-1])


@CASES
def test_constant_strengths_per_example_are_the_scalar_strength(name, spec):
    effect = effect_named(name)
    values = strong(effect)
    scalar = run(effect, spec, values, batches=2)
    for shape in ((1,), (BATCH,)):
        rows = {key: torch.full(shape, value) for key, value in values.items()}
        same(scalar, run(effect, spec, rows, batches=2))


@CASES
def test_strengths_of_one_example_do_not_change_anothers_result(name, spec):
    effect = effect_named(name)
    high, low = strong(effect), off(effect)
    pattern = torch.arange(BATCH) % 3 == 0
    together = run(effect, spec, mixed(low, high, pattern))
    alone = run(effect, spec, high)
    torch.testing.assert_close(together[0].x[pattern], alone[0].x[pattern], rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(together[1][pattern], alone[1][pattern], rtol=1e-6, atol=1e-6)


@CASES
@pytest.mark.parametrize("before", ["off", "strong", "per example"])
def test_the_next_batchs_draws_do_not_depend_on_the_strengths(name, spec, before):
    effect = effect_named(name)
    first = {
        "off": off(effect),
        "strong": {key: known.high if known.high < 1000 else 5.0 for key, known in effect.hyperparameters.items()},
        "per example": mixed(off(effect), strong(effect), torch.arange(BATCH) % 2 == 0),
    }[before]
    x, y, _ = data(spec)
    effects = Effects(effect.hyperparameters, seed=0)
    effects.apply(x, y, first)
    after = effects.apply(x, y, strong(effect))
    expected, _ = run(effect, spec, strong(effect), batches=2)
    assert torch.equal(after.x, expected.x)


@CASES
def test_reduced_and_double_precision_keep_their_type(name, spec):
    effect = effect_named(name)
    values = mixed(off(effect), strong(effect), torch.arange(BATCH) % 2 == 0)
    single = run(effect, spec, values)
    for dtype, tolerance in ((torch.float64, 1e-4), (torch.bfloat16, None)):
        batch, losses = run(effect, spec, values, dtype=dtype)
        assert batch.x.dtype == losses.dtype == dtype
        assert torch.isfinite(batch.x).all()
        assert torch.isfinite(losses).all()
        if tolerance is not None and name != "input_noise":  # normal numbers of another type are other draws
            torch.testing.assert_close(batch.x.float(), single[0].x, rtol=tolerance, atol=tolerance)
            torch.testing.assert_close(losses.float(), single[1], rtol=tolerance, atol=tolerance)


@CASES
def test_no_gradient_flows_through_the_values_and_inputs_stay_as_they_were(name, spec):
    effect = effect_named(name)
    x, y, outputs = data(spec)
    kept, targets = x.clone(), y.clone()
    values = {key: torch.full((BATCH,), value, requires_grad=True) for key, value in strong(effect).items()}
    effects = Effects(effect.hyperparameters, seed=0)
    batch = effects.apply(x, y, values)
    assert not batch.x.requires_grad
    assert not effects.example_losses(loss_of(spec), outputs, batch, values).requires_grad
    outputs.requires_grad_()
    losses = effects.example_losses(loss_of(spec), outputs, batch, values)
    assert torch.equal(x, kept)
    assert torch.equal(y, targets)
    assert isinstance(batch, TrainingBatch)
    assert batch.x.shape == x.shape
    assert losses.shape == (BATCH,)
    (gradient,) = torch.autograd.grad(losses.sum(), outputs)
    assert torch.isfinite(gradient).all()


@CASES
def test_single_examples_and_tiny_inputs_work(name, spec):
    effect = effect_named(name)
    tiny = TaskSpec("tiny", spec.kind, tuple(1 for _ in spec.input_shape), spec.output_size)
    x, y, _ = data(tiny)
    batch = Effects(effect.hyperparameters, seed=0).apply(x[:1], y[:1], strong(effect))
    assert batch.x.shape == x[:1].shape
    assert torch.isfinite(batch.x).all()
