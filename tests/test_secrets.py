from __future__ import annotations

import pickle
import time

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

import hypertune._secrets as secrets
from hypertune._secrets import MASK, is_secret_key, redact, redact_mapping, remember, secrets_in
from hypertune.config import Config
from hypertune.errors import ConfigError, HypertuneError


@pytest.fixture(autouse=True)
def _forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """What one test remembers must not mask the texts of another."""
    monkeypatch.setattr(secrets, "_remembered", {})
    monkeypatch.setattr(secrets, "_pattern", None)


@pytest.mark.parametrize(
    "name",
    ["password", "db.password", "apiKey", "api_key", "key", "token", "access-token", "AWS_SECRET_ACCESS_KEY", "auth"],
)
def test_keys_that_name_a_credential(name: str) -> None:
    assert is_secret_key(name)


@pytest.mark.parametrize(
    "name", ["n_tokens", "token_dim", "tokenizer", "keys", "monkey", "key_size", "password_file", "hidden", "", "lr"]
)
def test_keys_that_do_not(name: str) -> None:
    assert not is_secret_key(name)


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("http://me:hunter@127.0.0.1:9/x", "hunter"),
        ("postgresql://me:p@ss/w0rd@host/db", "w0rd"),
        ("redis://:only-pass@host", "only-pass"),
        ("https://0123456789abcdefghij0@git.example/x", "0123456789abcdefghij0"),
        ("https://b.s3.amazonaws.com/k?X-Amz-Signature=0aff&X-Amz-Security-Token=IQoJb3", "0aff"),
        ("https://b.s3.amazonaws.com/k?X-Amz-Signature=0aff&X-Amz-Security-Token=IQoJb3", "IQoJb3"),
        ("wasbs://c@acc.example/p?sv=1&sig=abc%3D&se=2", "abc%3D"),
        ("connect host=x password=abc user=me", "abc "),
        ("Config(password='a b c', x=1)", "a b c"),
        ('{"api_token": "abc", "x": 1}', "abc"),
        ("Authorization: Bearer abcdefghi", "abcdefghi"),
        ("no such key AKIAIOSFODNN7EXAMPLE here", "AKIAIOSFODNN7EXAMPLE"),
        ("-----BEGIN RSA PRIVATE KEY-----\nabcd\n-----END RSA PRIVATE KEY-----", "abcd"),
        ("push with ghp_abcdefghijklmnopqrstuvwxyz", "ghp_abc"),
    ],
)
def test_credentials_are_found_by_form(text: str, hidden: str) -> None:
    assert hidden in text + " "
    assert hidden not in redact(text) + " "
    assert MASK in redact(text)


@pytest.mark.parametrize(
    "text",
    [
        "http://mlflow:5000/x@y",
        "sqlite:////tmp/a b/mlflow.db",
        "file:///x/y@z",
        "unexpected token: foo",
        "task.password: must be a string",
        "n_tokens=16, token_dim=3, key=value, lr=0.1",
        "postgresql://me@host/db",
        "size mismatch, m1: [2 x 3], m2: [4 x 5]",
    ],
)
def test_other_texts_stay_as_they_are(text: str) -> None:
    assert redact(text) == text


@given(st.text())
def test_redacting_twice_is_redacting_once(text: str) -> None:
    assert redact(redact(text)) == redact(text)


CONFIG = {
    "study": {"name": "s", "storage": "postgresql://u:pa%20ss@host/d"},
    "objective": "m:f",
    "sampler": {"name": "tpe", "password": "hunter22", "token": 12345, "key": "images", "keys": ["a"]},
    "pruner": {"name": "none", "credentials": {"user": "joey", "pass": "xyzzy9", "nothing": None}},
    "space": {"token": {"type": "int", "low": 1, "high": 12345}},
    "tracking": {"uri": "http://u:pppp@host"},
}


def test_a_config_is_masked_where_it_has_credentials() -> None:
    masked = redact_mapping(CONFIG)
    text = yaml.safe_dump(masked)
    for secret in ("pa%20ss", "hunter22", "images", "joey", "xyzzy9", "pppp"):
        assert secret not in text
    assert masked["space"] == CONFIG["space"]  # a hyperparameter's name is no credential's
    assert masked["sampler"]["keys"] == ["a"]
    assert masked["pruner"]["credentials"] == {"user": MASK, "pass": MASK, "nothing": None}
    assert masked["study"]["storage"] == "postgresql://u:***@host/d"


def test_values_of_credentials_are_masked_wherever_they_stand() -> None:
    found = secrets_in(CONFIG)
    assert found == ["pa%20ss", "pa ss", "hunter22", "12345", "xyzzy9", "pppp"]
    remember(found)
    assert (
        redact("login as joey with 'hunter22', 12345 or pa ss at images")
        == f"login as joey with '{MASK}', {MASK} or {MASK} at images"
    )
    assert redact("took 123456 ms") == "took 123456 ms"  # short ones only as words of their own
    remember(['sl"a\\sh'])
    assert "sl" not in redact(repr('sl"a\\sh'))


def test_errors_carry_no_credentials() -> None:
    Config.from_mapping({**CONFIG, "space": {"x": {"type": "float", "low": 0, "high": 1}}})  # remembers
    error = HypertuneError("no login with hunter22", where="x", given="hunter22 at u:pppp", fix="not hunter22")
    for shown in (str(error), str(pickle.loads(pickle.dumps(error))), repr(error)):
        assert "hunter22" not in shown
        assert "pppp" not in shown
    assert (
        str(ConfigError("must be text", where="-o task.api_key", given=7)) == "-o task.api_key: must be text; given ***"
    )
    with pytest.raises(ConfigError) as caught:
        Config.from_mapping({**CONFIG, "tracking": {"uri": "http://u:pppp@host", "password": "hunter33"}})
    assert "hunter33" not in str(caught.value)


def test_the_hash_of_a_config_says_nothing_of_its_credentials() -> None:
    base = {"objective": "m:f", "space": {"x": {"type": "float", "low": 0, "high": 1}}}
    one = Config.from_mapping({**base, "sampler": {"name": "tpe", "password": "aaaa"}})
    two = Config.from_mapping({**base, "sampler": {"name": "tpe", "password": "bbbb"}})
    assert one.fingerprint() == two.fingerprint()


def test_long_texts_take_no_time() -> None:
    begin = time.process_time()
    for part in ("a", "=", "://", "://a:b", "://a:@", "password ", "eyJ-", "?key", "'key':'"):
        redact(part * (200_000 // len(part)))
    assert time.process_time() - begin < 5
