"""Time and peak memory of one kind of training step next to another."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch.profiler import ProfilerActivity, profile

__all__ = ["StepTimes", "interleaved", "peak_memory"]

Step = Callable[[], object]


@dataclass(frozen=True, slots=True)
class StepTimes:
    """Times of one kind of step.

    Attributes:
        seconds: Median time of a step.
        ratio: Median over the rounds of its time over that of the first kind in the same round.
        quartiles: First and third quartile of these ratios.
    """

    seconds: float
    ratio: float
    quartiles: tuple[float, float]


def interleaved(
    steps: Mapping[str, Step],
    *,
    rounds: int = 50,
    repeats: int = 5,
    warmup: int = 5,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, StepTimes]:
    """Time several kinds of steps by turns, so that all of them meet the same load of the machine.

    Args:
        steps: By name; the first is what the others are compared with.
        rounds: Rounds; in each, every kind is timed once, in an order that is turned by one from round to round.
        repeats: Steps in one timing.
        warmup: Untimed steps of each kind before the first round.
        clock: Seconds.
    """
    if len(steps) < 1 or rounds < 2:
        raise ValueError("at least one kind of step and two rounds are needed")
    order = list(steps)
    for step in steps.values():
        for _ in range(warmup):
            step()
    times: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(rounds):
        turn = number % len(order)
        for name in (*order[turn:], *order[:turn]):
            step = steps[name]
            begun = clock()
            for _ in range(repeats):
                step()
            times[name].append((clock() - begun) / repeats)
    base = times[order[0]]
    results = {}
    for name, taken in times.items():
        ratios = [mine / theirs for mine, theirs in zip(taken, base, strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        results[name] = StepTimes(statistics.median(taken), middle, (low, high))
    return results


def peak_memory(make: Callable[[], Step], *, steps: int = 3) -> int:
    """Return the largest number of bytes that tensors hold at once on the CPU, from building the model on.

    Weights, gradients, optimizer state, activations and whatever a step allocates count; what exists before ``make``
    is called, such as the batch, does not. The figure is what torch's allocator hands out, as its profiler records
    it; memory outside of it, such as a convolution library's scratch space, is not seen.

    Args:
        make: Builds everything and returns the step.
        steps: Steps to make; optimizer state appears in the first, so at least 2.
    """
    if steps < 2:
        raise ValueError("the first step is not like the others: make at least 2")
    gc.collect()  # what is freed while measuring must not have been allocated before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        step = make()
        for _ in range(steps):
            step()
    held = peak = 0
    events = [event for event in recorded.profiler.kineto_results.events() if event.name() == "[memory]"]
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak
