from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from mlflow.exceptions import MlflowException
from mlflow.utils.validation import _validate_metric, _validate_param, _validate_tag

from hypertune.tracking._names import key, param_text, tag_text, timestamp

names = st.text(max_size=400) | st.text(st.sampled_from("ab/.-_ :0\n"), max_size=12)


def allowed(name: str) -> bool:
    try:
        _validate_metric(name, 1.0, 0, 0)
    except MlflowException:
        return False
    return True


@settings(max_examples=500, deadline=None)
@given(names)
def test_mlflow_accepts_every_key(name: str) -> None:
    assert allowed(key(name))
    _validate_param(key(name), param_text(name))
    _validate_tag(key(name), tag_text(name))


@settings(max_examples=500, deadline=None)
@given(names, names)
def test_two_names_never_share_a_key(one: str, other: str) -> None:
    assert (key(one) == key(other)) == (one == other)
    assert key(key(one)) != key(one) or key(one) == one  # a name made to look like a mapped one is mapped itself


def test_ordinary_names_stay_as_they_are() -> None:
    for name in ("lr", "val/loss", "hp/dropout", "a.b-c d_e", "größe", "cost/gradient_steps"):
        assert key(name) == name


def test_odd_names_stay_readable_and_apart() -> None:
    odd = [
        "val@loss",
        "val(loss)",
        "a:b",
        "",
        ".",
        "..",
        "../x",
        "/abs",
        "a//b",
        "a/./b",
        "a/",
        "x" * 251,
        "x" * 252,
        "a\n",
    ]
    keys = [key(name) for name in odd]
    assert all(map(allowed, keys))
    assert len(set(keys)) == len(odd)
    assert keys[0].startswith("val_loss-")
    assert key("val@loss") == "val_loss-d86f4cdba6"  # the same in every process and version


def test_long_values_are_cut() -> None:
    assert param_text("x" * 6000) == "x" * 6000
    assert param_text("x" * 6001) == "x" * 5999 + "…"
    assert len(tag_text("x" * 9000)) == 5000


def test_values_that_cannot_be_stored_are_replaced() -> None:
    assert param_text("a\ud800b\x00c") == "a?b�c"
    assert [param_text(value) for value in (True, None, 3, 0.1, "")] == ["True", "None", "3", "0.1", ""]


def test_times_are_milliseconds_from_zero() -> None:
    assert timestamp(1.2345) == 1234
    assert timestamp(1700000000.5) == 1700000000500
    assert timestamp(-1.0) == 0
