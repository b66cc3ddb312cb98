"""Optuna's own sampler suites, on every sampler that a config can name."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from optuna.samplers import BaseSampler
from optuna.testing.pytest_samplers import BasicSamplerTestCase, RelativeSamplerTestCase, SingleOnlySamplerTestCase

from hypertune import registry
from hypertune.samplers.contract import as_sampler
from hypertune.samplers.data_driven import DataDrivenSampler
from hypertune.samplers.mip import MIPSampler
from hypertune.samplers.stn import STNSampler
from hypertune.space import SearchSpace

# Names that the suites do not use: a sampler that knows its space refuses an objective that suggests other ranges.
SPACE = SearchSpace.from_mapping({"lr": {"type": "float", "low": 0, "high": 10}, "kind": {"choices": ["a", "b"]}})


# The suite itself asks for things these samplers warn about: it uses experimental parts of Optuna, values outside a
# step's grid, and spaces that change from trial to trial.
@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.filterwarnings("ignore:The distribution is specified by:UserWarning")
@pytest.mark.filterwarnings("ignore:Inconsistent parameter values for distribution:UserWarning")
@pytest.mark.filterwarnings("ignore:The parameter .* in trial#.* is sampled independently:UserWarning")
class TestSampler(BasicSamplerTestCase):
    """Every shipped sampler."""

    @pytest.fixture(params=registry.names("sampler"))
    def sampler(self, request: pytest.FixtureRequest) -> Callable[[], BaseSampler]:
        factory = registry.load("sampler", request.param)
        return lambda: as_sampler(factory, SPACE, seed=0, resumed_at=0, options={})


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.filterwarnings("ignore:The distribution is specified by:UserWarning")
@pytest.mark.filterwarnings("ignore:Inconsistent parameter values for distribution:UserWarning")
class TestSTNSampler(BasicSamplerTestCase, RelativeSamplerTestCase, SingleOnlySamplerTestCase):
    """Ours without a space: it then proposes what the study's trials have in common."""

    @pytest.fixture(params=[(), ("x", "x0", "a")], ids=["plain", "self-tuned"])
    def sampler(self, request: pytest.FixtureRequest) -> Callable[[], BaseSampler]:
        return lambda: STNSampler(self_tuned=request.param, seed=0, n_startup=1)


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.filterwarnings("ignore:The distribution is specified by:UserWarning")
@pytest.mark.filterwarnings("ignore:Inconsistent parameter values for distribution:UserWarning")
class TestDataDrivenSampler(BasicSamplerTestCase, RelativeSamplerTestCase, SingleOnlySamplerTestCase):
    """The one for many tasks, without a space, in its design and beyond."""

    @pytest.fixture(params=[2, 16], ids=["refines", "designs"])
    def sampler(self, request: pytest.FixtureRequest) -> Callable[[], BaseSampler]:
        return lambda: DataDrivenSampler(seed=0, candidates=request.param)


class Bowl:
    """Predicts the squared distance from a point, over names that the suites use."""

    epochs = 0.0

    def __init__(self, *names: str) -> None:
        self.names = names

    def predict(self, points: np.ndarray) -> np.ndarray:
        return np.square(points - 0.3).sum(axis=1)

    def gradient(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self.predict(points), 2 * (points - 0.3)


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.filterwarnings("ignore:The distribution is specified by:UserWarning")
@pytest.mark.filterwarnings("ignore:Inconsistent parameter values for distribution:UserWarning")
class TestMIPSampler(BasicSamplerTestCase, RelativeSamplerTestCase, SingleOnlySamplerTestCase):
    """Without a space and a predictor, with one that covers what the suites search, and with one for something else."""

    @pytest.fixture(params=[None, ("x", "x0", "a"), ("other",)], ids=["plain", "predicted", "uncovered"])
    def sampler(self, request: pytest.FixtureRequest) -> Callable[[], BaseSampler]:
        predict = None if request.param is None else Bowl(*request.param)
        return lambda: MIPSampler(predict=predict, seed=0, n_startup=1, n_predictions=64)
