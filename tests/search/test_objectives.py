"""Recipes on their way to other machines."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from hypertune.config import Config
from hypertune.errors import StorageError
from hypertune.objectives import FamilyObjective, UserObjective
from hypertune.search import _Discreet
from hypertune.space import SearchSpace
from hypertune.training.mip import HypernetworkSettings, train_hypernetwork

SPACE = {"dropout": {"type": "float", "low": 0.0, "high": 0.9}}
CONFIG = {
    "study": {"n_trials": 1},
    "family": {"name": "mlp", "width": 4, "depth": 1},
    "task": {"name": "digits", "n_train": 50, "n_val": 50, "n_test": 50},
    "space": SPACE,
    "sampler": {"name": "mip", "hypernetwork": {"epochs": 1}},
    "trial": {"epochs": 1, "batch_size": 50, "init_from_hypernet": True},
}


def test_a_packed_recipe_does_not_need_the_hypernetworks_file(tmp_path):
    file = tmp_path / "hypernetwork.pt"
    recipe = FamilyObjective(Config.from_mapping(CONFIG), SearchSpace.from_mapping(SPACE), hypernetwork=file)
    family, task, settings = recipe.load()
    options, setting = recipe.hypernetwork_settings()
    assert options == HypernetworkSettings(epochs=1)
    trained = train_hypernetwork(family, task, recipe.space, settings, options=options, setting=setting)
    trained.save(file)
    sent = pickle.loads(pickle.dumps(_Discreet(recipe, ()).packed().moved(Path("/elsewhere"))))
    file.unlink()
    params = {**recipe.fixed, "dropout": 0.5}
    predicted = sent.recipe.load_hypernetwork(sent.recipe.hypernetwork).initial_weights(params)
    expected = trained.initial_weights(params)
    assert all((predicted[name] == expected[name]).all() for name in expected)
    sent()  # a worker's preparation reads it too
    with pytest.raises(StorageError, match=r"sampler\.hypernetwork: the hypernetwork cannot be read: No such file.*"):
        recipe.packed()


def test_recipes_without_files_of_the_run_stay_as_they_are():
    recipe = FamilyObjective(Config.from_mapping(CONFIG), SearchSpace.from_mapping(SPACE))
    assert recipe.packed() is recipe
    own = _Discreet(UserObjective("os:getpid", Path("/a")), ())
    assert own.packed() is own
