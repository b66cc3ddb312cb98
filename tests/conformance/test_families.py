"""What every model family has to keep; a new file in hypertune/families is tested without a line here."""

import importlib.util
import io
from collections.abc import Mapping

import pytest
import torch

from hypertune import registry
from hypertune.errors import FamilyError
from hypertune.families.contract import Family, build_model
from hypertune.records import TaskSpec
from hypertune.space import SearchSpace, shipped_spaces

SPECS = [
    TaskSpec("digits", "classification", (1, 8, 8), 10),
    TaskSpec("colours", "classification", (3, 9, 7), 4),
    TaskSpec("table", "classification", (13,), 3),
    TaskSpec("targets", "regression", (5,), 2),
    TaskSpec("signal", "classification", (2, 24), 3),
    TaskSpec("spectra", "classification", (1, 8, 8), 10, "complex64"),
    TaskSpec("bins", "regression", (1, 24), 24, "complex64"),
]
FAMILIES = registry.names("family")
POINTS = 10


class RecordedParams(Mapping):
    """Parameters that remember which names were asked for."""

    def __init__(self, values):
        self.values_, self.read = values, set()

    def __getitem__(self, name):
        self.read.add(name)
        return self.values_[name]

    def __contains__(self, name):
        self.read.add(name)
        return name in self.values_

    def get(self, name, default=None):
        self.read.add(name)
        return self.values_.get(name, default)

    def __iter__(self):
        return iter(self.values_)

    def __len__(self):
        return len(self.values_)


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def space_of(family):
    return SearchSpace.load(family.default_space)


def takes(family, spec):
    """A family may refuse a layout, but only with its own error, and not every layout."""
    try:
        family.build({}, spec)
    except FamilyError:
        return False
    return True


def cases():
    found = []
    for name in FAMILIES:
        family = registry.load("family", name)
        taken = [spec for spec in SPECS if takes(family, spec)]
        assert taken, f"{name} takes no layout of inputs"
        found += [pytest.param(family, spec, id=f"{name}-{spec.name}") for spec in taken]
    return found


def models(family, spec):
    for index, params in enumerate(space_of(family).sample(POINTS, seed=0)):
        torch.manual_seed(index)
        yield params, build_model(family, params, spec)


def test_there_are_families():
    assert {"cnn", "mlp", "phnn"} <= set(FAMILIES)


@pytest.mark.parametrize("name", FAMILIES)
def test_is_complete(name):
    family = registry.load("family", name)
    assert isinstance(family, Family)
    assert family.name == name
    assert family.reference
    assert family.hyperparameters
    assert all(doc.strip() for doc in family.hyperparameters.values())
    assert family.default_space in shipped_spaces()


@pytest.mark.parametrize(("family", "spec"), cases())
def test_builds_and_trains_all_over_its_space(family, spec):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, *spec.input_shape, generator=generator, dtype=getattr(torch, spec.dtype))
    for params, model in models(family, spec):
        outputs = model(x)
        assert outputs.shape == (3, spec.output_size), params
        outputs.abs().square().mean().backward()
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None, f"{name} of {params} has no gradient"
            assert parameter.grad.isfinite().all(), f"{name} of {params}"


@pytest.mark.parametrize(("family", "spec"), cases())
def test_state_dict_round_trip(family, spec):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, *spec.input_shape, generator=generator, dtype=getattr(torch, spec.dtype))
    for params, model in models(family, spec):
        with torch.no_grad():
            model(x)  # moves running statistics
            file = io.BytesIO()
            torch.save(model.state_dict(), file)
            file.seek(0)
            torch.manual_seed(12345)
            copy = build_model(family, params, spec)
            assert not torch.equal(copy.eval()(x), model.eval()(x)), "another seed gave the same model"
            copy.load_state_dict(torch.load(file, weights_only=True))
            assert torch.equal(copy.eval()(x), model.eval()(x)), params


@pytest.mark.parametrize(("family", "spec"), cases())
def test_same_seed_same_model(family, spec):
    params = space_of(family).sample(1, seed=1)[0]
    states = []
    for _ in range(2):
        torch.manual_seed(7)
        states.append(build_model(family, params, spec).state_dict())
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


@pytest.mark.parametrize("name", FAMILIES)
def test_reads_exactly_what_it_declares(name):
    family, read = registry.load("family", name), set()
    for spec in SPECS:
        if takes(family, spec):
            for point in ({}, *space_of(family).sample(POINTS, seed=0)):
                params = RecordedParams(point)
                family.build(params, spec)
                read |= params.read
    assert read == set(family.hyperparameters)


@pytest.mark.skipif(
    importlib.util.find_spec("hypertune.training.hyperparameters") is None, reason="the training room is not there"
)
@pytest.mark.parametrize("name", FAMILIES)
def test_every_name_of_its_space_is_read_by_family_or_training(name):
    training = importlib.import_module("hypertune.training.hyperparameters").HYPERPARAMETERS
    family = registry.load("family", name)
    spaces = [space for space in shipped_spaces() if space == name or space.startswith(f"{name}_")]
    assert family.default_space in spaces
    for space in spaces:
        unknown = set(SearchSpace.load(space).names) - set(family.hyperparameters) - set(training)
        assert not unknown, space


@pytest.mark.parametrize("name", sorted(shipped_spaces()))
def test_every_parameter_of_a_shipped_space_is_documented(name):
    space = SearchSpace.load(name)
    assert all(space.docs.get(parameter) for parameter in space.names)
    assert shipped_spaces()[name].read_text(encoding="utf-8").startswith("# ")


@pytest.mark.parametrize("name", [name for name in shipped_spaces() if name.startswith("phnn")])
def test_every_n_divides_every_width(name):
    space = SearchSpace.load(name)
    width = space.distributions["width"]
    widths = range(width.low, width.high + 1, width.step)
    assert len(widths) > 1
    assert all(w % n == 0 for n in space.distributions["n"].choices for w in widths)
