from __future__ import annotations

from typing import Any

import pytest

from hypertune._family_options import fixed_hyperparameters, searched_mixtures
from hypertune.errors import ConfigError
from hypertune.search import check_search, run_search

MIXED = {"mix": ["relu", "hardtanh"], "alpha": "tuned"}


def content(activation: Any, **changes: Any) -> dict[str, Any]:
    return {
        "family": {"name": "mlp", "width": 8, "depth": 1, "activation": activation},
        "task": "wine",
        "space": {"lr": {"type": "float", "low": 1e-3, "high": 1e-1, "log": True}},
        "sampler": "random",
        "trial": {"epochs": 1, "device": "cpu"},
        "study": {"n_trials": 2},
        "runner": {"name": "inline"},
        "tracking": "none",
        **changes,
    }


def test_plain_options_are_hyperparameters() -> None:
    assert fixed_hyperparameters({"width": 8, "activation": "relu"}) == {"width": 8, "activation": "relu"}
    assert searched_mixtures({"width": 8}) == ()


def test_mixtures() -> None:
    assert fixed_hyperparameters({"activation": MIXED}) == {"activation": "relu+hardtanh"}
    assert searched_mixtures({"activation": MIXED}) == ("activation_mix",)
    given = {"activation": {"mix": ["relu", "tanh"], "alpha": 0.3}}
    assert fixed_hyperparameters(given) == {"activation": "relu+tanh", "activation_mix": 0.3}
    assert searched_mixtures(given) == ()


def test_a_tuned_share_joins_the_space() -> None:
    space = check_search(content(MIXED)).space
    assert space.names == ("lr", "activation_mix")
    assert (space.distributions["activation_mix"].low, space.distributions["activation_mix"].high) == (0.0, 1.0)
    narrower = {"activation_mix": {"type": "float", "low": 0.2, "high": 0.4}}
    assert check_search(content(MIXED, space=narrower)).space.distributions["activation_mix"].high == 0.4
    assert check_search(content({"mix": ["relu", "tanh"], "alpha": 0.3})).space.names == ("lr",)


def test_the_shipped_space_gives_up_what_the_mixture_settles() -> None:
    space = check_search(content(MIXED, space="mlp")).space
    assert "activation" not in space.names
    assert "activation_mix" in space.names


def test_trials_search_the_share(tmp_path) -> None:
    config = content(MIXED)
    config["study"]["folder"] = str(tmp_path)
    result = run_search(config, quiet=True)
    shares = {trial.params["activation_mix"] for trial in result.trials}
    assert result.counts["complete"] == 2
    assert len(shares) == 2


@pytest.mark.parametrize(
    ("activation", "where"),
    [
        ({"mix": ["relu"]}, "family.activation.mix"),
        ({"mix": "relu"}, "family.activation.mix"),
        ({"mix": ["relu", 3]}, "family.activation.mix"),
        ({"alpha": 0.5}, "family.activation.mix"),
        ({"mix": ["relu", "tanh"], "alpha": 2}, "family.activation.alpha"),
        ({"mix": ["relu", "tanh"], "alpha": True}, "family.activation.alpha"),
        ({"mix": ["relu", "tanh"], "alpah": 0.5}, "family.activation.alpah"),
    ],
)
def test_mappings_that_are_no_mixture(activation: Any, where: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_search(content(activation))
    assert caught.value.where == where
