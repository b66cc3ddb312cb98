"""Which output head a hypernetwork gets, by the number of its parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from hypertune.errors import ConfigError, FamilyError, did_you_mean
from hypertune.hypernets._mip_heads import WEIGHT_HEADS, Target

__all__ = ["HEADS", "choose_head", "default_hidden"]

HEADS = ("auto", "full", "low_rank", "chunked", "gated")
_ORDER = ("full", "low_rank", "chunked", "gated")
_FIRST, _LAST = 16, (128, 64, 32, 16)


def choose_head(
    head: str, targets: Mapping[str, Target], gates: Callable[[], int], *, features: int, rank: int, room: int
) -> str:
    """Return the head to use.

    Args:
        head: One of `HEADS`; ``auto`` takes the first of the others that fits.
        targets: The weights to predict.
        gates: Counts the parameters of the head ``gated``; raises FamilyError where no layer can be gated.
        features: Number of the body's features.
        rank: Rank of the head ``low_rank``.
        room: Largest number of parameters that it may have.

    Raises:
        ConfigError: The head is unknown or too large, or none fits; or the rank is no count.
    """
    if head not in HEADS:
        raise ConfigError(
            "unknown head",
            where="sampler.hypernetwork.head",
            given=head,
            expected=f"one of {', '.join(HEADS)}",
            fix=did_you_mean(head, HEADS),
        )
    if isinstance(rank, bool) or not isinstance(rank, int) or rank < 1:
        raise ConfigError(
            "not a rank", where="sampler.hypernetwork.rank", given=rank, expected="a whole number of at least 1"
        )
    sizes = {name: kind.count(targets, features, rank) for name, kind in WEIGHT_HEADS.items()}
    # Counting gates means making them, so it is left out where it does not matter.
    wanted = _ORDER if head == "auto" else (head,)
    for name in wanted:
        if name == "gated":
            try:
                sizes[name] = gates()
            except FamilyError:
                if head == "gated":
                    raise
                continue
        if sizes[name] <= room:
            return name
    if head != "auto" and head != "gated":
        with_gates = _count_or_none(gates)
        sizes |= {} if with_gates is None else {"gated": with_gates}
    fitting = [name for name in _ORDER if sizes.get(name, room + 1) <= room]
    smallest = min(sizes, key=sizes.__getitem__)
    needed = sizes[smallest if head == "auto" else head]
    raise ConfigError(
        "the hypernetwork is too large" if head != "auto" else "no head of the hypernetwork is small enough",
        where="sampler.hypernetwork.head",
        given=", ".join(f"{name}: {size:,} parameters" for name, size in sizes.items()),
        expected=f"at most {room:,} parameters in the head (max_parameters, less those of the body)",
        fix=f"use a head that fits: {', '.join(fitting)}" if fitting else f"raise max_parameters to hold {needed:,}",
    )


def default_hidden(head: str, targets: Mapping[str, Target], inputs: int, room: int) -> tuple[int, int]:
    """Return the units of a body's two layers: the widest with which the head ``full`` fits, where it may be used.

    Args:
        head: The head that is wanted.
        targets: The weights to predict.
        inputs: Length of an encoded point.
        room: Largest number of parameters that body and head may have.
    """
    for last in _LAST if head in {"auto", "full"} else ():
        body = (inputs + 1) * _FIRST + (_FIRST + 1) * last
        if body + WEIGHT_HEADS["full"].count(targets, last, 1) <= room:
            return _FIRST, last
    return _FIRST, _LAST[0]


def _count_or_none(gates: Callable[[], int]) -> int | None:
    try:
        return gates()
    except FamilyError:
        return None
