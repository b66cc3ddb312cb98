"""Optuna's own sampler suites, on every sampler that a config can name."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from optuna.samplers import BaseSampler
from optuna.testing.pytest_samplers import BasicSamplerTestCase, RelativeSamplerTestCase, SingleOnlySamplerTestCase

from hypertune import registry
from hypertune.samplers.contract import as_sampler
from hypertune.samplers.data_driven import DataDrivenSampler
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
