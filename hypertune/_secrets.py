"""Keeps credentials out of what people see: errors, logs, progress, MLflow, the report.

Two ways lead to a mask. By form: passwords and tokens inside URLs, ``password=...`` in a text, access keys whose
issuers gave them a form of their own. By value: what a config has under a key such as ``password`` or ``api_token`` is
remembered, and masked wherever a text repeats it, a library's error message for one. A value shorter than four
characters is only masked by form: hiding every "a" would hide the text.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeAlias
from urllib.parse import quote, unquote

__all__ = ["MASK", "is_secret_key", "redact", "redact_mapping", "remember", "secrets_in"]

MASK = "***"

_SHORTEST = 4  # characters of a value that is masked wherever it stands
_SHORTEST_WEAK = 8  # the same under a name that often is no credential, such as `key`
_EMBEDDED = 8  # from here on, a value is masked inside longer words too

# Words of a key that make its value a credential wherever they stand in it, and words that do so at its end only.
_STRONG = {"password", "passwd", "passphrase", "pwd", "secret", "secrets", "credential", "credentials", "apikey"}
_LAST = {"token", "auth", "authorization", "bearer", "sas", "dsn", "key"}
_WEAK = {"key", "auth"}
_ABOUT = {"file", "path", "dir", "folder", "name", "id", "env", "length", "size"}  # `password_file` holds no password
_NO_SECRET = {"user", "username", "login", "email", "host", "port", "region", "type"}  # beside a password
_SPLIT = re.compile(r"[^A-Za-z0-9]+|(?<=[a-z0-9])(?=[A-Z])")

_NAME = r"[\w.\-]+"
_Replacement: TypeAlias = str | Callable[[re.Match[str]], str]


def _if_named(match: re.Match[str]) -> str:
    words = _SPLIT.split(match["name"])
    return f"{match['before']}{MASK}" if is_secret_key(match["name"]) and words[-1].lower() not in _WEAK else match[0]


# user:password@, up to the last @ of the word: passwords hold @ and / although URLs may not. A port is no password.
_PASSWORD = re.compile(r"""(://[^/\s:@'"]*:)(?!\d{1,5}(?:[/?#\s'"]|$))[^\s'"<>]*@""")
_TOKEN = re.compile(r"""(://)[^/\s:@'"]{20,}@""")  # a token alone


def _without_user(match: re.Match[str]) -> str:
    if "://" not in match[0]:
        return match[0]
    return _TOKEN.sub(rf"\1{MASK}@", _PASSWORD.sub(rf"\1{MASK}@", match[0]))


_FORMS: tuple[tuple[re.Pattern[str], _Replacement], ...] = tuple(
    (re.compile(pattern, flags), replacement)
    for pattern, flags, replacement in (
        # Words up to their last @, each looked at once: a search for the @ from every :// of a long word takes minutes.
        (r"""(?<![^\s'"])[^\s'"]*@""", 0, _without_user),
        (r"""([?&;](?:[\w.\-]*signature|sig|key|auth)=)[^&\s#'"<>]+""", re.IGNORECASE, rf"\1{MASK}"),
        (rf"""(?P<before>[?&;](?P<name>{_NAME})=)[^&\s#'"<>]+""", 0, _if_named),
        (rf"""(?<![\w?&;.\-])(?P<before>(?P<name>{_NAME})=)("[^"]*"|'[^']*'|[^\s,;&'"<>)\]}}]+)""", 0, _if_named),
        (rf"""(?P<before>(["'])(?P<name>{_NAME})\2\s*:\s*)("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')""", 0, _if_named),
        (r"\b((?:Bearer|Basic)\s+)[A-Za-z0-9+/=._~\-]{8,}", 0, rf"\1{MASK}"),
        (r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b", 0, MASK),  # AWS
        (r"\b(?:gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,})", 0, MASK),  # GitHub
        (r"\b(?:hf_[A-Za-z0-9]{20,}|dapi[0-9a-f]{32}|sk-[\w\-]{20,}|xox[abprs]-[\w\-]{10,})", 0, MASK),
        (r"\beyJ[\w\-]{8,1000}\.[\w\-]{8,}\.[\w\-]+", 0, MASK),  # JSON web tokens
        (r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL, MASK),
    )
)
# What no text without a credential of one of these forms lacks; most texts end here, which costs a microsecond.
_HINT = re.compile(
    r"@|password|passwd|passphrase|pwd|secret|token|key|signature|credential|auth|sig=|bearer|basic"
    r"|sas|dsn|akia|asia|gh[pousr]_|github_pat_|hf_|dapi|sk-|xox|eyj",
    re.IGNORECASE,
)
# The variables from which MLflow and its artifact stores take credentials.
_VARIABLES = ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")

_remembered: dict[str, None] = {}
_pattern: re.Pattern[str] | None = None


def is_secret_key(name: str) -> bool:
    """Whether a key of a config, such as ``api_token`` or ``db.password``, names a credential."""
    words = [word.lower() for word in _SPLIT.split(name) if word]
    if not words or words[-1] in _ABOUT:
        return False
    return words[-1] in _LAST or not _STRONG.isdisjoint(words)


def secrets_in(content: Any) -> list[str]:
    """Return the credentials of a config: values under keys that name one, and those inside URLs."""
    return list(dict.fromkeys(_secrets_in(content, "")))


def remember(secrets: Iterable[str]) -> None:
    """Mask these values from now on in this process."""
    global _pattern
    before = len(_remembered)
    for secret in secrets:
        # As it stands, and as a URL, JSON or `repr` write it.
        for form in (secret, quote(secret, safe=""), json.dumps(secret)[1:-1], repr(secret)[1:-1]):
            _remembered.setdefault(form)
    if len(_remembered) > before:
        longest_first = sorted(_remembered, key=len, reverse=True)
        _pattern = re.compile("|".join(map(_value_pattern, longest_first)))


def redact(text: str) -> str:
    """Return a text without credentials; each is replaced by ``***``."""
    _remember_environment()
    if _pattern is not None:
        text = _pattern.sub(MASK, text)
    if _HINT.search(text):
        for form, replacement in _FORMS:
            text = form.sub(replacement, text)
    return text


def redact_mapping(content: Any, *, names: bool = True) -> Any:
    """Return plain data (mappings, lists, values) without credentials.

    Args:
        content: The data.
        names: Whether keys tell what a credential is, as those of a config do; its search space apart, where ``token``
            is a hyperparameter. False: texts are masked, whatever their key.
    """
    if names and isinstance(content, Mapping):
        return {
            redact(str(key)): redact_mapping(value, names=False) if key == "space" else _redacted(value, str(key), True)
            for key, value in content.items()
        }
    return _redacted(content, "", names)


def _redacted(content: Any, key: str, names: bool) -> Any:
    if names and is_secret_key(key):
        return _masked(content)
    if isinstance(content, Mapping):
        return {redact(str(name)): _redacted(value, str(name), names) for name, value in content.items()}
    if isinstance(content, list | tuple):
        return [_redacted(value, "", names) for value in content]
    return redact(content) if isinstance(content, str) else content


def _masked(value: Any) -> Any:
    """Mask every value of a credential; how it is built stays visible."""
    if isinstance(value, Mapping):
        return {key: _masked(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_masked(inner) for inner in value]
    return value if value is None or isinstance(value, bool) or value == "" else MASK


def _secrets_in(content: Any, key: str, path: str = "") -> Iterator[str]:
    if isinstance(content, Mapping):
        for name, value in content.items():
            if not path and name == "space":
                yield from _secrets_in(value, "", "space")
            elif is_secret_key(str(name)) and path != "space":
                yield from _secrets_in(value, str(name), "config")
            elif str(name) not in _NO_SECRET:
                yield from _secrets_in(value, key, path or "config")
    elif isinstance(content, list | tuple):
        for value in content:
            yield from _secrets_in(value, key, path)
    elif content is not None and not isinstance(content, bool):
        text = str(content)
        if not key:
            yield from _passwords(text)
        elif len(text) >= (_SHORTEST_WEAK if _SPLIT.split(key)[-1].lower() in _WEAK else _SHORTEST):
            yield text


def _passwords(text: str) -> Iterator[str]:
    """Passwords inside a text that is a URL, also as the program that gets it sees them: without URL escapes."""
    found = re.match(r"[\w+.\-]+://[^/\s:@]*:([^\s]*)@", text)
    if found is not None and len(found[1]) >= _SHORTEST:
        yield found[1]
        if unquote(found[1]) != found[1]:
            yield unquote(found[1])


def _value_pattern(secret: str) -> str:
    escaped = re.escape(secret)
    return escaped if len(secret) >= _EMBEDDED else rf"(?<![A-Za-z0-9]){escaped}(?![A-Za-z0-9])"


_seen_environment: dict[str, str] = {}


def _remember_environment() -> None:
    for name in _VARIABLES:
        value = os.environ.get(name, "")
        if len(value) >= _SHORTEST and _seen_environment.get(name) != value:
            _seen_environment[name] = value
            remember([value])
