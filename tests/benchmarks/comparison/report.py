"""The table in Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from comparison.statistics import Mean, Table, best_peer, gap, mean, mean_ranks, names

__all__ = ["markdown"]


def markdown(table: Table, *, ours: Sequence[str], heading: str) -> str:
    """Return the report.

    Args:
        table: The trajectories.
        ours: Methods that are compared with the best of the others.
        heading: What was run where, in one paragraph.
    """
    tasks, methods = names(table, "task"), names(table, "method")
    ranks = {method: ranks[0] for method, ranks in mean_ranks(table, [1.0]).items()}
    seeds = sorted({cell.seed for cell in table})
    parts = [
        f"{heading}\n\nMean ± standard error over the seeds {', '.join(map(str, seeds))}. Every figure is of the "
        "incumbent that validation chose.",
        "### Test loss\n\n"
        + _grid(
            ["method", *tasks, "mean rank"],
            [
                [method, *(_mean(table, task, method, "test") for task in tasks), _rank(ranks, method)]
                for method in methods
            ],
        ),
        "### Validation loss\n\n" + _by_method(table, tasks, methods, "value"),
        "### Epochs paid\n\n" + _by_method(table, tasks, methods, "epochs"),
        "### Seconds, one core\n\n" + _by_method(table, tasks, methods, "seconds"),
    ]
    peers = [method for method in methods if method not in ours]
    rows = [row for method in methods if method in ours for task in tasks if (row := _row(table, task, method, peers))]
    if rows:
        parts.append(
            "### Against the best peer, by mean test loss\n\nThe difference is paired by seed.\n\n"
            + _grid(["method", "task", "best peer", "ratio", "difference", "in standard errors"], rows)
        )
    return "\n\n".join(parts) + "\n"


def _by_method(table: Table, tasks: Sequence[str], methods: Sequence[str], attribute: str) -> str:
    rows = [[method, *(_mean(table, task, method, attribute) for task in tasks)] for method in methods]
    return _grid(["method", *tasks], rows)


def _mean(table: Table, task: str, method: str, attribute: str) -> str:
    cells = [points for cell, points in table.items() if (cell.task, cell.method) == (task, method)]
    if not cells:
        return ""
    found = mean([getattr(points[-1], attribute) for points in cells])
    if attribute in ("value", "test"):
        return str(found)
    return f"{found.value:.0f}"


def _rank(ranks: dict[str, Mean], method: str) -> str:
    found = ranks.get(method)
    return f"{found.value:.2f} ± {found.error:.2f}" if found is not None else ""


def _row(table: Table, task: str, method: str, peers: Sequence[str]) -> list[str] | None:
    peer = best_peer(table, task, peers)
    found = gap(table, task, method, peer) if peer is not None else None
    if peer is None or found is None:
        return None
    error = found.difference.error
    standardised = f"{found.difference.value / error:+.1f}" if error > 0 else ""
    return [method, task, peer, f"{found.ratio:.3f}", str(found.difference), standardised]


def _grid(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heading, ["---"] * len(heading), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
