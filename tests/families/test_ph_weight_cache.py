"""When an assembled weight is used again, and when it must not be."""

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from hypertune.families._weight_cache import WeightCache, _Source


class Assembly:
    """Doubles its source, and counts."""

    def __init__(self, source):
        self.source, self.cache, self.times = source, WeightCache(), 0

    def __call__(self):
        def assemble():
            self.times += 1
            return 2 * self.source

        return self.cache.get(assemble, self.source)


@pytest.fixture
def assembly():
    return Assembly(nn.Parameter(torch.randn(3, 4)))


def test_the_same_source_is_assembled_once(assembly):
    with torch.no_grad():
        first = assembly()
        assert assembly() is first
    with torch.inference_mode():
        assert assembly() is first
    assert assembly.times == 1
    assert torch.equal(first, 2 * assembly.source)


def replaced(source):
    return nn.Parameter(source + 1)


CHANGES = {
    "in place": lambda source: source.add_(1),
    "past autograd": lambda source: source.data.add_(1),
    "one entry": lambda source: source.view(-1)[3:4].neg_(),
    "other memory": lambda source: setattr(source, "data", source + 1),
    "other type": lambda source: setattr(source, "data", source.double()),
    "other shape": lambda source: setattr(source, "data", source.repeat(2, 1)),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_change_of_any_kind_is_seen(assembly, change):
    with torch.no_grad():
        assembly()
        change(assembly.source)
        made = assembly()
        assert made.dtype == assembly.source.dtype
        assert torch.equal(made, 2 * assembly.source)
        assert assembly.times == 2


def test_another_parameter_of_equal_value_will_do_and_of_another_value_will_not(assembly):
    with torch.no_grad():
        first = assembly()
        assembly.source = nn.Parameter(assembly.source.clone())
        assert assembly() is first
        assembly.source = replaced(assembly.source)
        assert torch.equal(assembly(), 2 * assembly.source)


def test_not_a_number_is_never_taken_for_unchanged(assembly):
    with torch.no_grad():
        assembly.source[0, 0] = float("nan")
        assembly()
        assembly()
    assert assembly.times == 2


def test_nothing_is_kept_where_the_assembly_is_part_of_the_computation(assembly):
    with torch.no_grad():
        kept = assembly()
    assert assembly() is not kept  # gradients are recorded
    assert assembly().requires_grad
    with torch.no_grad():
        torch.vmap(lambda x: x * assembly())(torch.ones(2, 3, 4))
    assert assembly.times == 4
    with torch.no_grad():
        assert assembly() is kept


def test_a_batched_source_is_not_kept(assembly):
    sources = torch.randn(5, 3, 4)

    def double(source):
        assembly.source = source
        return assembly()

    with torch.no_grad():
        made = torch.vmap(double)(sources)
        assert torch.equal(made, 2 * sources)
        assembly.source = sources[0]
        assert torch.equal(assembly(), 2 * sources[0])


def test_a_stand_in_for_a_tensor_is_not_kept():
    with torch.no_grad(), FakeTensorMode():
        fake = Assembly(torch.randn(2))
        fake()
        fake()
    meta = Assembly(torch.empty(2, device="meta"))
    with torch.no_grad():
        meta()
        meta()
    assert (fake.times, meta.times) == (2, 2)


def test_cleared(assembly):
    with torch.no_grad():
        assembly()
        assembly.cache.clear()
        assembly()
    assert assembly.times == 2


def test_by_version_as_on_an_accelerator():
    with torch.no_grad():
        for change in ("in place", "other memory", "other type", "other shape"):
            source = nn.Parameter(torch.randn(3, 4))
            was = _Source.of(source, by_value=False)
            assert was.is_still(source), change
            CHANGES[change](source)
            assert not was.is_still(source), change
        assert not was.is_still(replaced(source))


def test_an_address_is_not_used_again_while_it_is_compared():
    """Three flat vectors in turn, as vector_to_parameters makes them: the third may get the first one's memory."""
    source = nn.Parameter(torch.zeros(1000))
    with torch.no_grad():
        source.data = torch.full((1000,), 1.0)
        was = _Source.of(source, by_value=False)
        for value in (2.0, 3.0, 4.0):
            source.data = torch.full((1000,), value)
            assert not was.is_still(source)
