from __future__ import annotations

import random
import subprocess
import sys

import numpy as np
import pytest
import torch

from hypertune.training.seeds import derive_seed, deterministic_algorithms, seed_everything


def test_derived_seeds_are_the_same_in_a_fresh_process() -> None:
    script = "from hypertune.training.seeds import derive_seed as d; print(d(0), d(7, 'shuffle'), d(7, 1, 'é'))"
    fresh = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert [int(text) for text in fresh.split()] == [derive_seed(0), derive_seed(7, "shuffle"), derive_seed(7, 1, "é")]
    # From `printf '[7, "shuffle"]' | sha256sum`: the first 31 bits.
    assert derive_seed(7, "shuffle") == 1699261620


def test_every_key_makes_another_seed_in_range() -> None:
    seeds = [derive_seed(seed, *keys) for seed in range(200) for keys in [(), (1,), ("1",), ("a", "bc"), ("ab", "c")]]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**31 for seed in seeds)
    assert derive_seed(0, int(np.int64(3))) == derive_seed(0, 3)


def test_seeding_repeats_all_three_generators() -> None:
    draws = []
    for _ in range(2):
        seed_everything(5)
        draws.append((random.random(), float(np.random.rand()), float(torch.rand(()))))
    assert draws[0] == draws[1]
    seed_everything(6)
    assert all(
        a != b for a, b in zip(draws[0], (random.random(), np.random.rand(), float(torch.rand(()))), strict=True)
    )


def test_deterministic_algorithms_are_on_inside_and_put_back_after_an_error() -> None:
    flags = (torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark)

    def fail_inside() -> None:
        with deterministic_algorithms(True):
            assert torch.are_deterministic_algorithms_enabled()
            assert torch.backends.cudnn.deterministic
            raise KeyError

    with pytest.raises(KeyError):
        fail_inside()
    assert (torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark) == flags
    with deterministic_algorithms(False):
        assert torch.are_deterministic_algorithms_enabled() == flags[0]
