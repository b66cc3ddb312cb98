"""Who competes, and how much of the probability of error each comparison may use.

References:
    [Howard21] Howard, Ramdas, McAuliffe, Sekhon. Time-uniform, nonparametric, nonasymptotic confidence sequences.
        Annals of Statistics 49, 2021. (The sum of 6 / (pi^2 j^2) over j is 1.)
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TypeAlias

from hypertune.bounds._checks import check_count, check_delta
from hypertune.errors import BoundError, ConfigError, did_you_mean

__all__ = ["CandidateSet"]

Candidate: TypeAlias = int | str


@dataclass(frozen=True, slots=True)
class CandidateSet:
    """Candidates that were fixed before the first task, and those that were proposed later.

    A union bound is over candidates that cannot depend on the tasks. A candidate proposed after some tasks were seen
    does depend on them: it needs a level of its own, and only tasks from then on count for it. A closed set spends
    all of delta on the fixed candidates and takes no other; an open set spends half on them, and
    ``delta / 2 * 6 / (pi^2 j^2)`` on the j-th that is added, so that all levels together stay below delta.

    Attributes:
        fixed: Names of the candidates fixed before the first task.
        delta: Probability that any statement about any candidate is wrong, in (0, 1).
        open: Whether candidates may be added.
        added: Names of the candidates added, each with the number of tasks that had been seen.
    """

    fixed: tuple[Candidate, ...]
    delta: float
    open: bool = False
    added: tuple[tuple[Candidate, int], ...] = ()

    @classmethod
    def of(cls, names: Iterable[Candidate], delta: float, *, open: bool = False) -> CandidateSet:  # noqa: A002
        """Fix candidates before the first task.

        Args:
            names: Their names, each once; at least one.
            delta: Probability that any statement about any candidate is wrong, in (0, 1).
            open: Whether candidates may be added later.

        Raises:
            ConfigError: No name, a name twice, or ``delta`` out of range.
        """
        fixed = tuple(names)
        if not fixed or len(set(fixed)) != len(fixed):
            raise ConfigError(
                "are not distinct", where="candidates", given=fixed, expected="at least one name, none twice"
            )
        return cls(fixed, check_delta(delta), open)

    def __len__(self) -> int:
        return len(self.fixed) + len(self.added)

    def add(self, name: Candidate, seen: int) -> CandidateSet:
        """Return the set with one more candidate.

        Args:
            name: Its name, new to the set.
            seen: Number of tasks that had been seen when it was proposed, from 0; only later ones count for it.

        Raises:
            BoundError: The set is closed: the union bound was fixed without this candidate.
            ConfigError: The name is taken, or ``seen`` is smaller than for an earlier addition.
        """
        if not self.open:
            raise BoundError(
                "a candidate cannot join after the union bound was fixed",
                where="candidates",
                given=name,
                expected=f"one of the {len(self.fixed)} candidates fixed before the first task",
                fix="make the set with open=True, which keeps part of delta for later candidates, or certify the "
                "winner on held-out tasks",
            )
        if name in self.fixed or any(name == other for other, _ in self.added):
            raise ConfigError("is already a candidate", where="candidates", given=name, expected="a new name")
        tasks = check_count(seen, "seen", 0)
        if self.added and tasks < self.added[-1][1]:
            raise ConfigError("goes back in time", where="seen", given=seen, expected=f"at least {self.added[-1][1]}")
        return replace(self, added=(*self.added, (name, tasks)))

    def first_task(self, *names: Candidate) -> int:
        """Return the index, from 0, of the first task that counts for all of ``names`` together."""
        since = dict(self.added)
        return max((since.get(name, 0) for name in names if self._position(name) >= 0), default=0)

    def level(self, name: Candidate) -> float:
        """Return the level of a statement about one candidate; over all candidates they sum to at most delta."""
        position = self._position(name) - len(self.fixed)
        if position < 0:
            return self._fixed_share() / len(self.fixed)
        return self._added_share(position + 1)

    def pair_level(self, better: Candidate, worse: Candidate) -> float:
        """Return the level of "better has the larger mean" for an ordered pair; all sum to at most delta.

        Among K fixed candidates it is ``delta / (K (K - 1))``, halved when the set is open; the level of an added
        candidate is shared by its comparisons with all earlier ones, in both orders.
        """
        if better == worse:
            raise ConfigError("cannot be compared with itself", where="candidates", given=better)
        last = max(self._position(better), self._position(worse))
        if last < len(self.fixed):
            return self._fixed_share() / (len(self.fixed) * (len(self.fixed) - 1))
        return self._added_share(last - len(self.fixed) + 1) / (2 * last)

    def _fixed_share(self) -> float:
        return self.delta / 2 if self.open else self.delta

    def _added_share(self, j: int) -> float:
        return self.delta / 2 * 6 / (math.pi * j) ** 2

    def _position(self, name: Candidate) -> int:
        if name in self.fixed:
            return self.fixed.index(name)
        for position, (other, _) in enumerate(self.added):
            if name == other:
                return len(self.fixed) + position
        known = [str(other) for other in (*self.fixed, *(added for added, _ in self.added))]
        raise BoundError(
            "is no candidate of this union bound", where="candidates", given=name, fix=did_you_mean(str(name), known)
        )
