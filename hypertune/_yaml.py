"""YAML as people write it: duplicate keys are errors, ``1e-4`` is a number, and every key knows its line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from hypertune.errors import ConfigError

__all__ = ["dump_yaml", "parse_value", "read_yaml"]


class _Loader(yaml.SafeLoader):
    """Safe loader with YAML 1.2 floats and without silent duplicates."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: dict[Any, int] = {}
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            line = key_node.start_mark.line + 1
            if not isinstance(key, str | int | float | bool | None):
                raise yaml.constructor.ConstructorError(None, None, "a key must be plain text", key_node.start_mark)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key!r} is given twice, first on line {seen[key]}", key_node.start_mark
                )
            seen[key] = line
        return super().construct_mapping(node, deep)


# PyYAML follows YAML 1.1, where a float needs a dot: it reads 1e-4 as text.
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?[0-9][0-9_]*(\.[0-9_]*)?[eE][-+]?[0-9]+$"),
    list("-+0123456789"),
)


def read_yaml(path: Path, *, where: str) -> tuple[Any, dict[str, int]]:
    """Read a YAML file.

    Args:
        path: The file.
        where: What the file is to the user, for error messages.

    Returns:
        The content, and the line (from 1) of every mapping key by dotted path.

    Raises:
        ConfigError: The file is missing, unreadable, or not valid YAML.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"file {str(path)!r} is not found", where=where, fix="check the path") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"file {str(path)!r} cannot be read: {error}", where=where, fix="give a readable UTF-8 YAML file"
        ) from error
    try:
        content = yaml.load(text, Loader=_Loader)
        lines = _lines(yaml.compose(text, Loader=_Loader))
    except yaml.YAMLError as error:
        raise ConfigError(
            f"{path.name} is not valid YAML: {_one_line(error)}",
            where=where,
            fix="check indentation, quotes and brackets near that line",
        ) from error
    return content, lines


def parse_value(text: str, *, where: str) -> Any:
    """Parse one YAML value, as in ``-o key=value``.

    Raises:
        ConfigError: It is not valid YAML.
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise ConfigError(
            f"not a YAML value: {_one_line(error)}", where=where, given=text, fix="quote the value"
        ) from error


def dump_yaml(content: Any) -> str:
    """Return YAML text with keys in their given order."""
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, default_flow_style=False, width=110)


def _lines(node: yaml.Node | None, prefix: str = "") -> dict[str, int]:
    lines: dict[str, int] = {}
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            path = f"{prefix}.{key.value}" if prefix else str(key.value)
            lines[path] = key.start_mark.line + 1
            lines.update(_lines(value, path))
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            path = f"{prefix}.{index}"
            lines[path] = value.start_mark.line + 1
            lines.update(_lines(value, path))
    return lines


def _one_line(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error).splitlines()[0]
    context = getattr(error, "context", None)
    text = f"{context}, {problem}" if context else str(problem)
    return f"line {mark.line + 1}, column {mark.column + 1}: {text}" if mark is not None else text
