"""How often the accuracy of label propagation can swing with the parameter of its graph.

Label propagation (harmonic functions) gives every unlabeled node the probability that a random walk first meets a
labeled node of each class. It trains no weights, so the counts are about the utility itself: the share of unlabeled
nodes that get the right class.

By the matrix tree theorem that probability is a ratio of sums over spanning forests rooted at the labeled nodes, each
term a product of edge weights. The denominator is positive, so the predicted class of a node changes only at zeros of
the differences of two numerators.

References:
    [Zhu03] Zhu, Ghahramani, Lafferty. Semi-supervised learning using Gaussian fields and harmonic functions. ICML 2003.
    [Balcan21] Balcan, Sharma. Data driven semi-supervised learning. NeurIPS 2021.
    [Polya25] Pólya, Szegő. Problems and Theorems in Analysis II, part V, problem 75: an exponential sum with n terms
        has at most n - 1 real zeros, with multiplicity.
"""

from __future__ import annotations

import math

from hypertune.bounds._checks import check_count
from hypertune.bounds.bound import Bound

__all__ = ["gaussian_bandwidth", "log2_forests", "polynomial_offset", "threshold_radius"]

_HARMONIC = "labels are propagated by harmonic functions, and every edge has a positive weight"
_SIZES = "every task has at most that many nodes and classes"


def log2_forests(unlabeled: int, labeled: int) -> float:
    """Return log2 of the spanning forests of a complete graph with one tree for each labeled node.

    ``l (u + l)^(u - 1)`` for u unlabeled and l labeled nodes: Cayley's formula for forests with given roots.
    """
    u, v = check_count(unlabeled, "unlabeled"), check_count(labeled, "labeled")
    return math.log2(v) + (u - 1) * math.log2(u + v)


def gaussian_bandwidth(unlabeled: int, labeled: int, classes: int = 2) -> Bound:
    """Bound the oscillations in the bandwidth s of the weights ``exp(-distance^2 / s^2)``.

    Numerators are exponential sums in ``1 / s^2`` with at most as many terms as there are spanning forests; with F
    forests, u unlabeled nodes and c classes, accuracy changes at most ``u c (c - 1) / 2 (F - 1)`` times.

    Args:
        unlabeled: u, from 1.
        labeled: Labeled nodes, from 1.
        classes: c, from 2.
    """
    comparisons = check_count(unlabeled, "unlabeled") * math.comb(check_count(classes, "classes", 2), 2)
    forests = log2_forests(unlabeled, labeled)
    # One labeled node: a single class is all there is to predict, and one cut is more than enough.
    zeros = math.log2(max(2**forests - 1, 1)) if forests < 50 else forests
    return Bound.of_log2(
        "oscillations",
        math.log2(comparisons) + zeros,
        target="utility",
        statement=f"accuracy on {unlabeled} unlabeled nodes crosses a threshold that often at most as the bandwidth of "
        "the Gaussian kernel moves",
        assumptions=(_HARMONIC, _SIZES),
        source="proof here, with the matrix tree theorem and [Polya25]",
    )


def polynomial_offset(unlabeled: int, labeled: int, degree: int, classes: int = 2) -> Bound:
    """Bound the oscillations in the offset a of the weights ``(similarity + a)^degree``.

    A forest has u edges, so numerators are polynomials of degree ``u degree``; accuracy changes at most
    ``u c (c - 1) / 2 u degree`` times. The number of labeled nodes does not matter.

    Args:
        unlabeled: u, from 1.
        labeled: Labeled nodes, from 1.
        degree: Degree of the kernel, from 1.
        classes: c, from 2.
    """
    u = check_count(unlabeled, "unlabeled")
    check_count(labeled, "labeled")
    count = u * math.comb(check_count(classes, "classes", 2), 2) * u * check_count(degree, "degree")
    return Bound.of_log2(
        "oscillations",
        math.log2(count),
        target="utility",
        statement=f"accuracy on {u} unlabeled nodes crosses a threshold at most {count} times as the offset of the "
        "polynomial kernel moves",
        assumptions=(_HARMONIC, _SIZES),
        source="proof here, in the manner of [Balcan21]",
    )


def threshold_radius(nodes: int) -> Bound:
    """Bound the oscillations in the radius r of the graph that joins nodes at distance at most r.

    The graph changes only at the ``n (n - 1) / 2`` distances, so whatever is computed from it is a step function.

    Args:
        nodes: n, labeled and unlabeled, from 2.
    """
    count = math.comb(check_count(nodes, "nodes", 2), 2)
    return Bound.of_log2(
        "oscillations",
        math.log2(count),
        target="utility",
        statement=f"a utility computed from the graph of {nodes} nodes crosses a threshold at most {count} times as "
        "the radius moves",
        assumptions=("the utility depends on the radius through the unweighted graph alone", _SIZES),
        source="[Balcan21], threshold graphs",
    )
