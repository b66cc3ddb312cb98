from __future__ import annotations

import pytest

from hypertune._yaml import dump_yaml, parse_value, read_yaml
from hypertune.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("-2E5", -2e5),
        ("1.5e3", 1500.0),
        ("+3e2", 300.0),
        ("5", 5),
        ("true", True),
        ("1e", "1e"),
        ("", None),
    ],
)
def test_values(text, value):
    parsed = parse_value(text, where="x")
    assert (parsed, type(parsed)) == (value, type(value))


def read(tmp_path, text):
    file = tmp_path / "c.yaml"
    file.write_text(text)
    return read_yaml(file, where="config")


def test_lines_of_keys(tmp_path):
    content, lines = read(tmp_path, "a: 1\nb:\n  c: 2\n  d: [1, {e: 2}]\n")
    assert content == {"a": 1, "b": {"c": 2, "d": [1, {"e": 2}]}}
    assert (lines["a"], lines["b.c"], lines["b.d"], lines["b.d.1.e"]) == (1, 3, 4, 4)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\na: 2\n", "line 2.*'a' is given twice, first on line 1"),
        ("a: [1\n", "not valid YAML: line"),
        ("a:\n\t- 1\n", "line 2"),
        ("? [1, 2]\n: 3\n", "key must be plain text"),
        ("a: !!python/object:os.system {}\n", "not valid YAML"),
    ],
)
def test_invalid_yaml_names_the_line(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message):
        read(tmp_path, text)


def test_missing_and_binary_files(tmp_path):
    with pytest.raises(ConfigError, match=r"'.*none.yaml' is not found"):
        read_yaml(tmp_path / "none.yaml", where="config")
    (tmp_path / "b.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_yaml(tmp_path / "b.yaml", where="config")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_yaml(tmp_path, where="config")


def test_dump_keeps_order_and_round_trips():
    content = {"b": 1e-5, "a": {"z": None, "y": [True, "ü"]}}
    assert list(parse_value(dump_yaml(content), where="x")) == ["b", "a"]
    assert parse_value(dump_yaml(content), where="x") == content
