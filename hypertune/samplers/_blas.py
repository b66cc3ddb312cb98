"""One thread for the algebra of a proposal: its matrices have a few dozen rows, and the cores train trials."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from threadpoolctl import ThreadpoolController

__all__ = ["one_blas_thread"]


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Let numpy and scipy use one thread inside the block.

    Two that wait for each other while trials keep the cores busy made a proposal five times as slow.
    """
    with _controller().limit(limits=1, user_api="blas"):
        yield


@cache
def _controller() -> ThreadpoolController:
    # Looks through all loaded libraries, which takes longer than a proposal.
    import scipy.linalg  # noqa: F401  # brings a library of its own

    return ThreadpoolController()
