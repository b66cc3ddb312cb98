"""The PAC-Bayes-kl bound for a configuration that is drawn from a distribution.

With a prior P fixed before the tasks, with probability at least 1 - delta for all posteriors Q together,

    kl(mean utility of Q || expected utility of Q)  <=  (KL(Q || P) + ln(xi(n) / delta)) / n,

kl between Bernoulli distributions, and ``xi(n) = sum over k of C(n, k) (k/n)^k (1 - k/n)^(n - k)``, at most
``2 sqrt(n)``.

References:
    [Seeger02] Seeger. PAC-Bayesian generalisation error bounds for Gaussian process classification. JMLR 3, 2002.
    [Maurer04] Maurer. A note on the PAC Bayesian theorem. arXiv cs/0411099, 2004.
    [Germain15] Germain, Lacasse, Laviolette, Marchand, Roy. Risk bounds for the majority vote. JMLR 16, 2015.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaln, logsumexp, rel_entr, xlogy

from hypertune.bounds._checks import check_count, check_delta
from hypertune.bounds.utilities import INDEPENDENT, TaskOrigin, check_origin, check_utilities
from hypertune.errors import ConfigError, TaskError
from hypertune.records import Certificate

__all__ = ["gibbs_posterior", "kl_lower", "log_xi", "pac_bayes_certificate"]

_HALVINGS = 50
_TEMPERATURES = np.concatenate(([0.0], np.geomspace(0.01, 100.0, 41)))  # inverse, in units of sqrt(n)


def log_xi(n: int) -> float:
    """Return ``ln xi(n)``; between ``ln(n) / 2`` and ``ln(2 sqrt(n))`` ([Maurer04] Theorem 1, [Germain15] Lemma 19)."""
    count = check_count(n, "n")
    k = np.arange(count + 1, dtype=np.float64)
    binomial = gammaln(count + 1.0) - gammaln(k + 1) - gammaln(count - k + 1)
    return float(logsumexp(binomial + xlogy(k, k / count) + xlogy(count - k, 1 - k / count)))


def kl_lower(mean: ArrayLike, bound: ArrayLike) -> NDArray[np.float64]:
    """Return the smallest p at most ``mean`` with ``kl(mean || p) <= bound``, from below to 1e-15.

    Args:
        mean: In [0, 1], any shape.
        bound: From 0, in nats, in a shape that broadcasts.
    """
    q, most = np.broadcast_arrays(np.asarray(mean, dtype=np.float64), np.asarray(bound, dtype=np.float64))
    low, high = np.zeros(q.shape), q.copy()
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        far = rel_entr(q, middle) + rel_entr(1 - q, 1 - middle) > most
        low, high = np.where(far, middle, low), np.where(far, high, middle)
    return low


def gibbs_posterior(utilities: ArrayLike, delta: float, *, prior: ArrayLike | None = None) -> NDArray[np.float64]:
    """Return the distribution proportional to ``prior * exp(t * mean)`` whose bound is largest, over a grid of t.

    The bound holds for all posteriors together, so choosing t on the tasks is free.

    Args:
        utilities: ``(tasks, candidates)`` in [0, 1]; at least 2 tasks.
        delta: Probability of error that the certificate will have, in (0, 1).
        prior: Probabilities, ``(candidates,)``, fixed before the first task; uniform by default.

    Returns:
        Probabilities, ``(candidates,)``.

    Raises:
        ConfigError: ``delta`` is out of range, or the prior is no probabilities.
        TaskError: Fewer than 2 tasks, utilities outside [0, 1], or not two axes.
    """
    values, before = _arguments(utilities, prior)
    n, means = len(values), values.mean(axis=0)
    confidence = log_xi(n) - math.log(check_delta(delta))
    with np.errstate(divide="ignore"):  # what the prior excludes stays excluded
        scores = np.log(before) + np.sqrt(n) * _TEMPERATURES[:, None] * means
    choices = np.exp(scores - logsumexp(scores, axis=1, keepdims=True))
    choices /= choices.sum(axis=1, keepdims=True)
    divergences = rel_entr(choices, before).sum(axis=1)
    lower = kl_lower(np.clip(choices @ means, 0, 1), (divergences + confidence) / n)
    posterior: NDArray[np.float64] = choices[int(np.argmax(lower))]
    return posterior


def pac_bayes_certificate(
    utilities: ArrayLike,
    posterior: ArrayLike,
    delta: float,
    *,
    prior: ArrayLike | None = None,
    tasks: TaskOrigin = "independent",
) -> Certificate:
    """Bound the expected utility of a candidate drawn from a posterior.

    Candidates may also be the pieces of a hyperparameter's range, with their shares of the range as a prior: a uniform
    prior on the range does not depend on the tasks, though the pieces do.

    Args:
        utilities: ``(tasks, candidates)`` in [0, 1]; at least 2 tasks.
        posterior: Probabilities, ``(candidates,)``, chosen in any way on these tasks, as by `gibbs_posterior`.
        delta: Probability of error, in (0, 1).
        prior: Probabilities, ``(candidates,)``, fixed before the first task; uniform by default.
        tasks: Where the tasks come from.

    Returns:
        A certificate about the mean over the posterior, not about its most probable candidate.

    Raises:
        BoundError: The tasks are not independent.
        ConfigError: ``delta`` is out of range, or prior or posterior are no probabilities.
        TaskError: Fewer than 2 tasks, utilities outside [0, 1], or not two axes.
    """
    check_origin(tasks)
    values, before = _arguments(utilities, prior)
    n, size = values.shape
    after = _probabilities(posterior, size, "posterior")
    mean = min(float(after @ values.mean(axis=0)), 1.0)
    # A posterior outside the prior's support has an infinite divergence, and the bound is 0.
    bound = (float(rel_entr(after, before).sum()) + log_xi(n) - math.log(check_delta(delta))) / n
    lower = float(kl_lower(mean, bound))
    return Certificate(
        kind="pac-bayes-kl",
        target="expected utility on a new task of a candidate drawn from the posterior",
        value=lower,
        estimate=mean,
        margin=mean - lower,
        delta=delta,
        n=n,
        candidates=size,
        vacuous=lower <= 0,
        assumptions=(
            INDEPENDENT,
            "the prior was fixed before the first of these tasks",
            "the candidate is drawn from the posterior",
            "the number of tasks was fixed beforehand",
        ),
        source="[Seeger02], [Maurer04] with xi(n) itself",
    )


def _arguments(utilities: ArrayLike, prior: ArrayLike | None) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    values = check_utilities(utilities)
    if values.ndim != 2 or values.shape[1] == 0:
        raise TaskError("have the wrong shape", where="utilities", given=values.shape, expected="(tasks, candidates)")
    size = values.shape[1]
    return values, np.full(size, 1 / size) if prior is None else _probabilities(prior, size, "prior")


def _probabilities(values: ArrayLike, size: int, where: str) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64)
    if array.shape != (size,) or not (array >= 0).all() or not math.isclose(array.sum(), 1, rel_tol=1e-9):
        raise ConfigError(
            "are no probabilities", where=where, given=array.shape, expected=f"{size} numbers from 0 that sum to 1"
        )
    total: NDArray[np.float64] = array / array.sum()
    return total
