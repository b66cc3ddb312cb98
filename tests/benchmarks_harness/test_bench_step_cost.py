from __future__ import annotations

import pytest
import torch
from comparison.step_cost import interleaved, peak_memory

MEGABYTE = 2**20


class Machine:
    """A clock that steps advance, and that runs slower and slower."""

    def __init__(self):
        self.now = 0.0
        self.calls = []

    def step(self, name, seconds):
        def run():
            self.calls.append(name)
            self.now += seconds * (1 + len(self.calls))

        return run


def test_ratios_do_not_depend_on_a_load_that_grows():
    machine = Machine()
    steps = {"plain": machine.step("plain", 1.0), "double": machine.step("double", 2.0)}
    times = interleaved(steps, rounds=200, repeats=1, warmup=0, clock=lambda: machine.now)
    assert times["plain"].ratio == 1.0
    assert times["double"].ratio == pytest.approx(2.0, rel=0.02)
    assert times["double"].quartiles[0] <= times["double"].ratio <= times["double"].quartiles[1]
    assert machine.calls[:4] == ["plain", "double", "double", "plain"]


def test_repeats_and_warmup():
    machine = Machine()
    interleaved({"a": machine.step("a", 1.0)}, rounds=2, repeats=3, warmup=4, clock=lambda: machine.now)
    assert len(machine.calls) == 4 + 2 * 3
    with pytest.raises(ValueError, match="two rounds"):
        interleaved({}, rounds=5)


def test_peak_is_what_is_held_at_once():
    def make():
        kept = torch.zeros(4 * MEGABYTE, dtype=torch.uint8)

        def step():
            first = torch.zeros(8 * MEGABYTE, dtype=torch.uint8)
            del first
            second = torch.zeros(2 * MEGABYTE, dtype=torch.uint8)
            third = torch.zeros(3 * MEGABYTE, dtype=torch.uint8)
            return kept, second, third

        return step

    assert peak_memory(make) == 12 * MEGABYTE


def test_peak_of_a_training_step_has_weights_gradients_and_moments():
    torch.manual_seed(0)
    x = torch.randn(1, 1024)

    def make():
        model = torch.nn.Linear(1024, 1024, bias=False)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

        def step():
            optimizer.zero_grad(set_to_none=False)
            model(x).sum().backward()
            optimizer.step()

        return step

    weights = 4 * 1024 * 1024
    # The gradient of a later backward pass is made beside the one it is added to.
    assert 4 * weights <= peak_memory(make) < 4.1 * weights
    with pytest.raises(ValueError, match="at least 2"):
        peak_memory(make, steps=1)
