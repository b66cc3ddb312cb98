"""Names and values the way an MLflow store accepts them.

A store takes letters, digits, ``_ - . /`` and spaces in the keys of params, metrics and tags (a colon too, but not on
Windows), at most 250 characters, and no key that reads as another path. Values have a length limit. Credentials
in values are masked.
"""

from __future__ import annotations

import hashlib
import posixpath
import re

from hypertune._secrets import redact
from hypertune.records import ParamValue

__all__ = ["key", "param_text", "tag_text", "timestamp"]

_KEY_LENGTH = 250
_MAPPED_LENGTH = 200  # leaves room for a prefix
_PARAM_LENGTH = 6000
_TAG_LENGTH = 5000
_ALLOWED = re.compile(r"[/\w.\- ]+")
_FORBIDDEN = re.compile(r"[^/\w.\- ]")
_MAPPED = re.compile(r".*-[0-9a-f]{10}", re.DOTALL)


def key(name: str) -> str:
    """Return the key for a name: the name itself when it is allowed, else a readable form with a hash of the name.

    Deterministic, and two names never share a key (up to a collision of 40 bits of SHA-1): an allowed name that looks
    like a mapped one is mapped too. The way back is the tag ``hypertune.name.<key>`` of the study's run.
    """
    if (
        len(name) <= _KEY_LENGTH
        and _ALLOWED.fullmatch(name)
        and not _reads_as_other(name)
        and not _MAPPED.fullmatch(name)
    ):
        return name
    digest = hashlib.sha1(name.encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest()[:10]
    readable = _FORBIDDEN.sub("_", name)
    if _reads_as_other(readable):
        readable = readable.replace("/", "_").replace("..", "__")
    return f"{readable[: _MAPPED_LENGTH - 11]}-{digest}"


def param_text(value: ParamValue) -> str:
    """Return a parameter's value as text, cut at MLflow's limit."""
    return _cut(redact(str(value)), _PARAM_LENGTH)


def tag_text(value: object) -> str:
    """Return a tag's value as text, cut at MLflow's limit."""
    return _cut(redact(str(value)), _TAG_LENGTH)


def timestamp(seconds: float) -> int:
    """Return Unix seconds as the Unix milliseconds MLflow wants, at least 0."""
    return max(0, round(seconds * 1000))


def _reads_as_other(name: str) -> bool:
    normal = posixpath.normpath(name)
    return normal != name or normal == "." or normal.startswith(("..", "/"))


def _cut(text: str, limit: int) -> str:
    # Lone surrogates cannot be stored as UTF-8, and PostgreSQL takes no NUL.
    text = text.encode("utf-8", "replace").decode("utf-8").replace("\x00", "�")
    return text if len(text) <= limit else text[: limit - 1] + "…"
