"""The ``hypertune`` command: one verb, one function; heavy imports inside."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from hypertune.errors import HypertuneError
from hypertune.records import EXAMPLES, STANDARD_ERROR

if TYPE_CHECKING:
    from hypertune.reporting.result import StudyResult
    from hypertune.search import Plan

__all__ = ["app", "main"]

OK, USER_ERROR, ALL_FAILED, INTERRUPTED = 0, 2, 3, 130

T = TypeVar("T")

app = typer.Typer(
    name="hypertune",
    help="Hyperparameter search for PyTorch: samplers for Optuna and Ray Tune, tracked in MLflow.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

ConfigFile = Annotated[Path, typer.Argument(metavar="CONFIG", help="A config.yaml.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("-o", "--override", metavar="KEY=VALUE", help="Override a key, e.g. study.n_trials=5."),
]
Run = Annotated[str | None, typer.Argument(metavar="[RUN]", help="A run's folder or name; the newest by default.")]
Root = Annotated[Path, typer.Option("--runs", metavar="FOLDER", help="Folder of the runs.")]
Name = Annotated[str | None, typer.Argument(metavar="[NAME]", help="Show this one in full.")]
RUNS = Path("runs")


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Show the version and leave.")] = False,
) -> None:
    if version:
        from hypertune import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.command()
def search(
    config: ConfigFile,
    override: Overrides = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and leave.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
) -> None:
    """Search hyperparameters as CONFIG says; tracked, resumable."""
    from hypertune.search import plan_search, run_search

    if dry_run:
        _print_plan(_said(lambda: plan_search(config, override or [])))
        return
    _end(_said(lambda: run_search(config, override or [], quiet=quiet)))


@app.command()
def resume(
    run: Run = None,
    override: Overrides = None,
    runs: Root = RUNS,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
) -> None:
    """Continue a run that was interrupted, or extend it: -o study.n_trials=100."""
    from hypertune.search import resume_search

    _end(_said(lambda: resume_search(run, override or [], root=runs, quiet=quiet)))


@app.command()
def best(
    run: Run = None,
    runs: Root = RUNS,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    as_yaml: Annotated[bool, typer.Option("--yaml", help="The parameters as YAML, to paste into a config.")] = False,
) -> None:
    """Show the best trial of a run, finished or not."""
    from hypertune._yaml import dump_yaml
    from hypertune.errors import ConfigError
    from hypertune.search import load_result

    def read() -> StudyResult:
        if as_json and as_yaml:
            raise ConfigError("--json and --yaml exclude each other", where="best", fix="choose one")
        result = load_result(run, root=runs)
        if result.best is None:
            raise ConfigError(
                "no trial of this run is complete", where="RUN", given=result.name, fix="wait, or resume it"
            )
        return result

    result = _said(read)
    content = result.to_json()["best"]
    if as_json:
        typer.echo(json.dumps(content, indent=2))
    elif as_yaml:
        typer.echo(dump_yaml({**content["params"], **content["tuned"]}), nl=False)
    else:
        _print_best(result)


@app.command()
def logs(
    run: Run = None,
    trial: Annotated[
        int | None, typer.Argument(metavar="[TRIAL]", help="A trial's number; the last that failed by default.")
    ] = None,
    runs: Root = RUNS,
) -> None:
    """Show what a trial printed and how it ended, wherever it ran."""
    from hypertune.reporting.trial_log import trial_log
    from hypertune.search import load_result

    typer.echo(_said(lambda: trial_log(load_result(run, root=runs), trial)), nl=False)


@app.command()
def check(config: ConfigFile, override: Overrides = None) -> None:
    """Check CONFIG: keys, space, data, and models built over the space."""
    from hypertune.search import check_search

    plan = _said(lambda: check_search(config, override or []))
    what = plan.config.objective or f"{_name(plan.config.family)} on {_task_name(plan.config)}"
    typer.echo(f"ok: {what}, {len(plan.space)} hyperparameters, sampler {plan.config.sampler.name}")


@app.command()
def bound(
    config: ConfigFile,
    override: Overrides = None,
    eps: Annotated[float, typer.Option("--eps", help="Wanted margin of the certificate, in utility.")] = 0.05,
    delta: Annotated[float, typer.Option("--delta", help="Probability that the certificate is wrong.")] = 0.05,
    spread: Annotated[float, typer.Option("--spread", help="Standard deviation of utility over tasks.")] = 0.15,
    oscillations: Annotated[int, typer.Option("--oscillations", help="For the theory: swings of one task.")] = 10,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Show how far a configuration tuned on so many tasks could be trusted on new ones."""
    from dataclasses import asdict

    from hypertune.bounds.outlook import outlook
    from hypertune.many_tasks import planned_race
    from hypertune.search import plan_search

    sizes = (50, 100, 300, 1000)

    def look() -> tuple[Any, Any]:
        plan = plan_search(config, override or [])
        race = planned_race(plan.config, plan.space)
        return race, outlook(
            eps, delta, candidates=race.candidates, spread=spread, tasks=sizes, oscillations=oscillations
        )

    race, rows = _said(look)
    if as_json:
        settings = {"epsilon": eps, "delta": delta, "spread": spread, "tasks": sizes}
        typer.echo(json.dumps({**settings, **asdict(race), "bounds": [asdict(row) for row in rows]}, indent=2))
        return
    _print_bounds(race, rows, sizes, eps, delta, spread)


@app.command()
def rank(
    config: Annotated[Path | None, typer.Argument(metavar="[CONFIG]", help="A config.yaml.")] = None,
    override: Overrides = None,
    run: Annotated[str | None, typer.Option("--run", metavar="RUN", help="A run's, instead of CONFIG's.")] = None,
    runs: Root = RUNS,
    n: Annotated[int, typer.Option("--n", help="Configurations to predict.")] = 5000,
    top: Annotated[int, typer.Option("--top", help="Rows of the table.")] = 20,
    out: Annotated[Path | None, typer.Option("--out", metavar="FOLDER", help="Where table and figure go.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
) -> None:
    """Train a hypernetwork and rank configurations by what it predicts: no trial runs."""
    from hypertune.search import rank_search

    def say(text: str) -> None:
        if not quiet:
            typer.echo(text, err=True)

    landscape, folder = _said(lambda: rank_search(config, override or [], run=run, root=runs, folder=out, n=n, say=say))
    _print_landscape(landscape, top, folder)


@app.command()
def schema() -> None:
    """Print the JSON schema of config.yaml, for editor completion."""
    from hypertune.config import json_schema

    typer.echo(json.dumps(json_schema(), indent=2))


@app.command()
def families(name: Name = None) -> None:
    """List the model families, or show one."""
    _show("family", name)


@app.command()
def samplers(name: Name = None) -> None:
    """List the samplers, or show one."""
    _show("sampler", name)


@app.command()
def tasks(name: Name = None) -> None:
    """List the tasks, or show one."""
    _show("task", name)


@app.command()
def spaces(name: Name = None) -> None:
    """List the shipped search spaces, or show one."""
    from hypertune.space import SearchSpace, shipped_spaces

    if name is None:
        for shipped in shipped_spaces():
            typer.echo(shipped)
        return
    _print_space(_said(lambda: SearchSpace.load(name)))


@app.command()
def ui(
    run: Run = None,
    runs: Root = RUNS,
    port: Annotated[int, typer.Option(help="Port on the loopback interface; 0 for a free one.")] = 0,
    open_browser: Annotated[bool, typer.Option("--open/--no-open", help="Open a browser.")] = True,
) -> None:
    """Open the MLflow UI on a run's store, on this machine only."""
    from hypertune.reporting.ui import serve

    raise typer.Exit(_said(lambda: serve(run, runs, port=port, open_browser=open_browser, say=typer.echo)))


@app.command()
def report(
    run: Annotated[
        list[str] | None,
        typer.Argument(metavar="[RUN]...", help="Runs' folders or names, several side by side; the newest by default."),
    ] = None,
    runs: Root = RUNS,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FOLDER", help="Where to; RUN/report by default, or comparison beside the runs."),
    ] = None,
    dashboard: Annotated[
        str | None, typer.Option("--dashboard", metavar="NAME|FILE", help="What to show; study by default.")
    ] = None,
    open_browser: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
) -> None:
    """Write the report of a run: an interactive page, and a short form with images."""
    import webbrowser

    from hypertune.reporting.report import ReportFiles, write_report
    from hypertune.run_folder import RunFolder

    def write() -> ReportFiles:
        folders = [RunFolder.find(name, runs) for name in (run or (None,))]
        place = folders[0].path / "report" if len(folders) == 1 else runs / "comparison"
        return write_report(folders, out or place, dashboard=dashboard)

    files = _said(write)
    typer.echo(f"report      {_shown(files.html.resolve())}\nshort form  {_shown(files.markdown.resolve())}")
    if open_browser:
        webbrowser.open(files.html.resolve().as_uri())


@app.command()
def export(
    run: Run = None,
    runs: Root = RUNS,
    format: Annotated[  # noqa: A002 - the name of the option
        str | None,
        typer.Option("--format", metavar="csv|parquet|json", help="By default what --out ends with, or csv."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="The file; trials.csv in the run's folder by default.")
    ] = None,
) -> None:
    """Write the trials of a run as a table: CSV, Parquet or JSON."""
    from hypertune.reporting.export import export_trials
    from hypertune.run_folder import RunFolder

    path = _said(lambda: export_trials(RunFolder.find(run, runs), out, format=format))
    typer.echo(_shown(path.resolve()))


@app.command()
def doctor(
    kernels: Annotated[
        bool, typer.Option("--kernels", help="Show the path each fused kernel takes, and on a GPU its speed.")
    ] = False,
) -> None:
    """Show versions, devices and what is missing."""
    from hypertune.reporting.doctor import examine, examine_kernels

    findings = examine_kernels() if kernels else examine()
    width = max(len(finding.what) for finding in findings)
    for finding in findings:
        typer.echo(f"{'ok ' if finding.good else '-- '} {finding.what:<{width}}  {finding.text}")


def main() -> None:
    """Run the command line; the entry point of ``hypertune``."""
    try:
        app()
    except KeyboardInterrupt:
        typer.echo("interrupted", err=True)
        sys.exit(INTERRUPTED)


def _said(action: Callable[[], T]) -> T:
    """Run an action; a user's mistake becomes one message and exit code 2."""
    try:
        return action()
    except HypertuneError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(USER_ERROR) from None


def _end(result: StudyResult) -> None:
    name, folder = result.name, result.folder
    if result.best is not None:
        _print_best(result)
    typer.echo(f"\nrun folder  {folder}\nreview      hypertune ui {_shown(folder)}")
    if not result.finished:
        typer.echo(f"interrupted; continue with: hypertune resume {_shown(folder)}")
        raise typer.Exit(INTERRUPTED)
    if result.all_failed:
        reasons = [trial.reason for trial in result.trials if trial.reason]
        typer.echo(f"error: all {len(result.trials)} trials of {name} failed; the last: {reasons[-1]}", err=True)
        raise typer.Exit(ALL_FAILED)


def _shown(folder: Path) -> str:
    """The folder as a person in the current folder would type it."""
    return str(folder.relative_to(Path.cwd())) if folder.is_relative_to(Path.cwd()) else str(folder)


def _print_best(result: StudyResult) -> None:
    from hypertune._secrets import redact

    best = result.best
    assert best is not None
    cost = result.to_json()["cost"]
    counts = ", ".join(f"{count} {state}" for state, count in result.counts.items() if count)
    typer.echo(f"\n{result.name}: {counts}")
    if "hypernetwork_epochs" in cost:
        spent = f"{cost['epochs']:,} epochs of trials and {cost['hypernetwork_epochs']:g} of the hypernetwork"
        rank_correlation = result.hypernetwork.get("spearman")
        known = "" if rank_correlation is None else f", whose rank correlation with them is {rank_correlation:.2f}"
        typer.echo(f"cost: {spent}{known}")
    typer.echo(f"best trial {best.number}: {result.metric} {best.value:.6g}")
    for name, value in best.metrics.items():
        if name.startswith(("test/", "hold_out/")) and not name.endswith((f"/{EXAMPLES}", STANDARD_ERROR)):
            error = best.metrics.get(f"{name}{STANDARD_ERROR}")
            typer.echo(f"  {name} {value:.6g}" + (f" (standard error {error:.2g})" if error is not None else ""))
    for name, param in best.params.items():
        tuned = f" -> {best.tuned[name]:.6g}" if name in best.tuned else ""
        shown = f"{param:.6g}" if isinstance(param, float) else redact(str(param))
        edge = best.metrics.get(f"tune/at_edge/{name}")
        note = "" if edge is None else f"  (at the {'high' if edge > 0 else 'low'} end of its range)"
        typer.echo(f"  {name}: {shown}{tuned}{note}")


def _print_landscape(landscape: Any, top: int, folder: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("rank", "predicted", *landscape.entries, box=None, padding=(0, 1), header_style="")
    for row in landscape.rows(max(top, 0)):
        table.add_row(*row)
    console = Console()
    (console if console.is_terminal else Console(width=240)).print(table, markup=False)
    facts = landscape.facts
    typer.echo(f"\n{len(landscape.params):,} configurations ranked; the hypernetwork cost {facts['epochs']:g} epochs")
    for name, reason in facts.get("uncovered", {}).items():
        typer.echo(f"not predicted: {name} ({reason})")
    typer.echo(f"\ntable and figure  {_shown(folder)}/landscape.csv, .html, .png")


def _print_plan(plan: Plan) -> None:
    config = plan.config
    what = config.objective or f"{_name(config.family)} on {_task_name(config)}"
    budget = [f"{config.study.n_trials} trials" if config.study.n_trials else ""]
    budget.append(f"{config.study.timeout:g} s" if config.study.timeout else "")
    epochs = f" of {config.trial.epochs} epochs" if config.family else ""
    lines = {
        "study": f"{plan.name}: {config.study.direction} {config.study.metric}, seed {config.study.seed}",
        "trains": what,
        "budget": " or ".join(part for part in budget if part) + epochs,
        "sampler": _described(config.sampler),
        "pruner": _described(config.pruner),
        "runner": _described(config.runner),
        "storage": plan.storage,
        "tracking": f"{plan.tracking}, experiment {plan.experiment}" if plan.tracking else "none",
        "folder": str(plan.folder),
    }
    from hypertune._secrets import redact

    for key, value in lines.items():
        typer.echo(redact(f"{key:<9} {value}"))
    typer.echo("space")
    _print_space(plan.space)


def _print_space(space: Any) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(
        "name", "range", "tuned inside", "only when", "unit", "what", box=None, padding=(0, 1), header_style=""
    )
    for name, entry in space.to_mapping().items():
        if entry["type"] == "categorical":
            bounds = ", ".join(str(choice) for choice in entry["choices"])
        else:
            bounds = f"{entry['low']:g} .. {entry['high']:g}"
            bounds += " log" if entry.get("log") else ""
            bounds += f" step {entry['step']:g}" if "step" in entry else ""
        tuned = "yes" if entry.get("self_tune") else ""
        when = " and ".join(f"{parent} = {value}" for parent, value in entry.get("when", {}).items())
        table.add_row(name, bounds, tuned, when, entry.get("unit", ""), entry.get("doc", ""))
    console = Console()
    # A pipe or a file has no edge to wrap at.
    (console if console.is_terminal else Console(width=240)).print(table, markup=False)


def _print_bounds(race: Any, rows: Any, sizes: tuple[int, ...], eps: float, delta: float, spread: float) -> None:
    from rich.console import Console
    from rich.table import Table

    configured = "any number of" if race.configured is None else race.configured
    typer.echo(
        f"tasks configured: {configured} ({race.hold_out} held out); candidates: {race.candidates}; "
        f"margins with probability {1 - delta:g}, for utilities in [0, 1] with standard deviation {spread:g}"
    )
    table = Table("certificate", *(f"m = {n}" for n in sizes), f"tasks for {eps:g}", "", box=None, padding=(0, 1))
    for row in rows:
        margins = (f"{margin:.3f}" if margin < 1 else f"{margin:.2f} (vacuous)" for margin in row.margins)
        table.add_row(row.kind, *margins, f"{row.needed:,}" if row.needed < 10**9 else f"{row.needed:.1e}", row.note)
    console = Console()
    (console if console.is_terminal else Console(width=240)).print(table, markup=False)
    for note in race.notes:
        typer.echo(f"note: {note}")


def _described(component: Any) -> str:
    options = ", ".join(f"{key}={value}" for key, value in component.options.items())
    return f"{component.name} ({options})" if options else str(component.name)


def _name(component: Any) -> str:
    return component.name if component is not None else ""


def _task_name(config: Any) -> str:
    if config.tasks is None:
        return _name(config.task)
    return config.tasks.name or f"{len(config.tasks.items)} tasks"


def _show(kind: str, name: str | None) -> None:
    import inspect

    from hypertune.registry import load, names

    if name is None:
        for known in names(kind):
            typer.echo(known)
        return
    thing = _said(lambda: load(kind, name))
    hyperparameters = getattr(thing, "hyperparameters", None)
    described = getattr(thing, "build", thing)
    document = inspect.getdoc(inspect.getmodule(described)) or inspect.getdoc(described) or ""
    typer.echo(document)
    if getattr(thing, "reference", ""):
        typer.echo(f"\nreference: {thing.reference}")
    if hyperparameters is not None:
        typer.echo("\nhyperparameters")
        for key, text in hyperparameters.items():
            typer.echo(f"  {key}: {text}")
    elif callable(thing):
        options = [
            str(parameter)
            for parameter in inspect.signature(thing).parameters.values()
            if parameter.kind is inspect.Parameter.KEYWORD_ONLY and parameter.name not in {"seed", "resumed_at"}
        ]
        typer.echo(f"\noptions: {', '.join(options) or 'those of the Optuna class'}")
