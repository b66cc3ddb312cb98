from __future__ import annotations

import pickle

import pytest

from hypertune import errors
from hypertune.errors import ConfigError, HypertuneError, SpaceError, did_you_mean


def test_message_names_where_given_expected_and_fix():
    error = ConfigError("is wrong", where="a.b", given=[1], expected="a text", fix="write text")
    assert str(error) == "a.b: is wrong; given [1]; expected a text. Fix: write text"


def test_given_none_is_shown_but_absent_given_is_not():
    assert "given None" in str(ConfigError("is wrong", given=None))
    assert "given" not in str(ConfigError("is wrong"))


def test_long_values_are_cut():
    assert len(str(ConfigError("is wrong", given="x" * 5000))) < 300


@pytest.mark.parametrize("name", [n for n in errors.__all__ if n.endswith("Error")])
def test_every_error_is_one_and_survives_pickling(name):
    kind = getattr(errors, name)
    error = kind("is wrong", where="a", given={"b": "c"}, expected="d", fix="e")
    copy = pickle.loads(pickle.dumps(error))
    assert isinstance(copy, HypertuneError)
    assert type(copy) is kind
    assert str(copy) == str(error)


def test_at_prefixes_the_path():
    error = SpaceError("is wrong", where="lr.low", given=0).at("space")
    assert (error.where, str(error)) == ("space.lr.low", "space.lr.low: is wrong; given 0")


def test_did_you_mean_prefers_the_nearest_then_lists():
    assert did_you_mean("n_trails", ["n_trials", "name"]) == "did you mean 'n_trials'?"
    assert did_you_mean("zzz", ["b", "a"]) == "use one of a, b"
    assert did_you_mean("zzz", ["a"], fallback="else") == "else"
    assert did_you_mean("zzz", []) == "there are none to choose from"
