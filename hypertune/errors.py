"""Every error a user can meet, in one tree.

```
HypertuneError
├── ConfigError      a config file, an override or a command-line argument
├── SpaceError       a search space, or a value that lies outside it
├── TaskError        data, splits, loss or metric
├── FamilyError      a model that cannot be built from its hyperparameters
├── BoundError       a theorem or certificate that does not apply to what was given
├── TrialError       one trial went wrong; the search goes on
├── StorageError     the run folder or the Optuna storage
└── TrackingError    the MLflow store
```
Each message names where (a dotted path), what was given, what is expected and the fix, so that the CLI can
print it as it is. Credentials in it are masked when the error is made.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from hypertune._secrets import MASK, is_secret_key, redact

__all__ = [
    "BoundError",
    "ConfigError",
    "FamilyError",
    "HypertuneError",
    "SpaceError",
    "StorageError",
    "TaskError",
    "TrackingError",
    "TrialError",
    "did_you_mean",
]

_MISSING = object()


class HypertuneError(Exception):
    """A user-facing error.

    Args:
        problem: What is wrong, as one clause.
        where: Dotted path of the thing that is wrong, for example ``study.n_trials``.
        given: The value that was given; left out of the message when not passed.
        expected: What would have been accepted.
        fix: What to do about it.
    """

    def __init__(
        self,
        problem: str,
        *,
        where: str | None = None,
        given: object = _MISSING,
        expected: str | None = None,
        fix: str | None = None,
    ) -> None:
        problem = redact(problem)
        super().__init__(problem)
        self.problem = problem
        self.where = where
        if where and is_secret_key(where) and not where.startswith("space.") and given is not _MISSING:
            given = _Text(MASK)
        # Kept as text: an error must stay picklable when it crosses from a worker to the driver.
        self.given = None if given is _MISSING else given if isinstance(given, _Text) else _Text(_short(given))
        self.expected = None if expected is None else redact(expected)
        self.fix = None if fix is None else redact(fix)

    def __str__(self) -> str:
        text = f"{self.where}: {self.problem}" if self.where else self.problem
        if self.given is not None:
            text += f"; given {self.given}"
        if self.expected:
            text += f"; expected {self.expected}"
        if self.fix:
            text += f". Fix: {self.fix}"
        return text

    def __reduce__(self) -> tuple[object, ...]:
        given = {} if self.given is None else {"given": self.given}
        keywords = {"where": self.where, "expected": self.expected, "fix": self.fix, **given}
        return (_rebuild, (type(self), self.problem, keywords))

    def at(self, prefix: str) -> HypertuneError:
        """Return the same error with ``prefix`` put before its dotted path."""
        where = f"{prefix}.{self.where}" if self.where else prefix
        given = {} if self.given is None else {"given": self.given}
        return type(self)(self.problem, where=where, expected=self.expected, fix=self.fix, **given)


class ConfigError(HypertuneError):
    """A config file, an override or a command-line argument is wrong."""


class SpaceError(HypertuneError):
    """A search space is wrong, or a value lies outside it."""


class TaskError(HypertuneError):
    """Data, splits, loss or metric are wrong."""


class FamilyError(HypertuneError):
    """A model cannot be built from its hyperparameters."""


class BoundError(HypertuneError):
    """A theorem or certificate does not apply to what was given."""


class TrialError(HypertuneError):
    """One trial went wrong; the search goes on without it."""


class StorageError(HypertuneError):
    """The run folder or the Optuna storage cannot be read or written."""


class TrackingError(HypertuneError):
    """The tracking store cannot be reached, read or written."""


class _Text(str):
    """Text that is already the printable form of a value."""

    __slots__ = ()


def did_you_mean(name: object, known: Iterable[str], *, fallback: str | None = None) -> str:
    """Return ``did you mean 'x'?`` for the nearest known name, else the list of known names.

    Args:
        name: The name that is not known.
        known: The names that are.
        fallback: What to say when nothing is near; the sorted list of known names by default.
    """
    options = sorted(known)
    near = difflib.get_close_matches(str(name), options, n=1, cutoff=0.6)
    if near:
        return f"did you mean {near[0]!r}?"
    if fallback is not None:
        return fallback
    return f"use one of {', '.join(options)}" if options else "there are none to choose from"


def _short(value: object, limit: int = 200) -> str:
    text = redact(repr(value))
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _rebuild(kind: type[HypertuneError], problem: str, keywords: dict[str, object]) -> HypertuneError:
    return kind(problem, **keywords)  # type: ignore[arg-type]
