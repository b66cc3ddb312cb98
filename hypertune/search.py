"""The composition root: a config becomes a running search, a run folder becomes a resumed one.

It constructs and wires; what the parts do is theirs.
"""

from __future__ import annotations

import contextlib
import math
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import optuna
from numpy.random import SeedSequence
from optuna.pruners import NopPruner

from hypertune import __version__
from hypertune._secrets import redact, redact_mapping, remember, secrets_in
from hypertune._yaml import dump_yaml
from hypertune.attachments import StudyReport, TaskData
from hypertune.config import Config
from hypertune.driver.ask_tell import AskTell
from hypertune.driver.attributes import trial_records
from hypertune.driver.recovery import recover, requeue
from hypertune.driver.signals import stopped_by_signals
from hypertune.driver.study_store import StudyStore, open_storage, storage_errors
from hypertune.errors import ConfigError, HypertuneError, StorageError
from hypertune.hypernetwork_prior import obtain_hypernetwork, rank_correlation, wants_hypernetwork
from hypertune.many_tasks import findings
from hypertune.objectives import BestModel, FamilyObjective
from hypertune.provenance import git_commit, versions
from hypertune.records import HYPERNETWORK, Event, Listener, Started, StudyClosed, StudyInfo, StudyOpened
from hypertune.reporting.result import StudyResult
from hypertune.run_folder import RunFolder
from hypertune.runners.contract import MakeObjective
from hypertune.selection_luck import selection_luck
from hypertune.space import SearchSpace
from hypertune.tracking.checkpoints import KeepBestCheckpoint
from hypertune.tracking.console import Console
from hypertune.tracking.contract import Attachments
from hypertune.tracking.journal import Journal
from hypertune.tracking.publisher import Publisher
from hypertune.tracking.status import PublisherStatus
from hypertune.training.trial import Objective
from hypertune.wiring import (
    make_objective,
    read_pruner,
    read_runner,
    read_sampler,
    read_space,
    with_scheduler,
)

if TYPE_CHECKING:
    from hypertune.reporting.landscape import Landscape

__all__ = ["Plan", "check_search", "load_result", "plan_search", "rank_search", "resume_search", "run_search"]

# What may change when a run goes on: how long and where, never what a trial means.
_MAY_CHANGE = {"study.n_trials", "study.timeout", "trial.timeout", "trial.device", "runner", "tracking"}
_PUBLISH_SECONDS = 60.0
_LAST_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What a search would do."""

    config: Config
    space: SearchSpace
    name: str
    folder: Path
    storage: str
    tracking: str | None
    experiment: str


def plan_search(source: str | Path | Mapping[str, Any], overrides: Sequence[str] = ()) -> Plan:
    """Read a config and resolve everything that needs no training code.

    Args:
        source: Path of a config file, or its content.
        overrides: ``dotted.key=value`` texts that win over it.

    Raises:
        HypertuneError: The first thing that is wrong.
    """
    config = _read(source, overrides)
    space = read_space(config)
    read_sampler(config, space)
    read_pruner(config)
    read_runner(config)
    return _plan(config, space)


def check_search(source: str | Path | Mapping[str, Any], overrides: Sequence[str] = ()) -> Plan:
    """Do what `plan_search` does, and build models over the space and run them on the task's data.

    Raises:
        HypertuneError: The first thing that is wrong.
    """
    plan = plan_search(source, overrides)
    make_objective(plan.config, plan.space)()
    return plan


def run_search(
    source: str | Path | Mapping[str, Any],
    overrides: Sequence[str] = (),
    *,
    listeners: Sequence[Listener] = (),
    stream: TextIO | None = None,
    quiet: bool = False,
) -> StudyResult:
    """Run a search to its end.

    Args:
        source: Path of a config file, or its content.
        overrides: ``dotted.key=value`` texts that win over it.
        listeners: Called with every event.
        stream: Where progress goes; standard error by default.
        quiet: Show no progress.

    Returns:
        The outcome, which result.json in the run folder holds too.

    Raises:
        HypertuneError: The user's mistake, or a store that fails; what was finished by then is stored.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    plan = plan_search(source, overrides)
    _refuse_known_name(plan)
    folder = RunFolder.create(plan.folder.parent, plan.name)
    try:
        with folder.lock():
            storage = open_storage(plan.storage)
            sampler, pruner = read_sampler(plan.config, plan.space), read_pruner(plan.config)
            store = StudyStore.create(storage, plan.name, plan.config.study.direction, sampler, pruner)
            identity = {
                "study_id": uuid.uuid4().hex,
                "study": plan.name,
                "storage": plan.storage,
                "tracking": plan.tracking,
                "created": datetime.now().astimezone().isoformat(timespec="seconds"),
                "hypertune": __version__,
            }
            folder.write_text(folder.config, plan.config.to_yaml(), private=True)
            folder.write_text(folder.space, dump_yaml(plan.space.to_mapping()), private=True)
            folder.write_json(folder.identity, identity, private=True)
            run = _Run(plan, folder, store, identity["study_id"] or "", listeners, stream, quiet)
            try:
                return run.drive()
            except HypertuneError:
                if not run.started:  # a run without a trial would only stand in the way of the repaired one
                    storage.delete_study(storage.get_study_id_from_name(plan.name))
                    folder.remove()
                raise
    except HypertuneError:
        if not folder.identity.exists():
            folder.remove()
        raise


def resume_search(
    run: str | None = None,
    overrides: Sequence[str] = (),
    *,
    root: str | Path = "runs",
    listeners: Sequence[Listener] = (),
    stream: TextIO | None = None,
    quiet: bool = False,
) -> StudyResult:
    """Continue a run: finished trials stay, interrupted ones are repeated, unpublished events are published.

    Args:
        run: Run folder, or name below ``root``; None for the newest.
        overrides: Only of how long and where: ``study.n_trials``, ``study.timeout``, ``trial.timeout``,
            ``trial.device``, ``runner``, ``tracking``.
        root: Folder of the runs.
        listeners: Called with every event.
        stream: Where progress goes; standard error by default.
        quiet: Show no progress.

    Raises:
        HypertuneError: The user's mistake, or a store that fails.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    folder = RunFolder.find(run, Path(root))
    for override in overrides:
        key = override.partition("=")[0].strip()
        if not any(key == allowed or key.startswith(f"{allowed}.") for allowed in _MAY_CHANGE):
            raise ConfigError(
                "cannot change in a run that has begun",
                where=f"-o {key}",
                expected=", ".join(sorted(_MAY_CHANGE)),
                fix="start another search with it",
            )
    with folder.lock():
        identity = folder.read_json(folder.identity)
        config = with_scheduler(Config.load(folder.config, overrides))
        plan = _plan(config, read_space(config), name=identity["study"], storage=identity["storage"])
        storage = open_storage(plan.storage, create=False)
        journal, _ = Journal(folder.journal).read()
        missing = recover(storage, plan.name, journal, plan.space.distributions)
        if overrides:
            folder.write_text(folder.config, plan.config.to_yaml(), private=True)
            folder.write_json(folder.identity, {**identity, "tracking": plan.tracking}, private=True)
        with storage_errors(plan.storage):
            resumed_at = len(storage.get_all_trials(storage.get_study_id_from_name(plan.name), deepcopy=False))
        sampler = read_sampler(config, plan.space, resumed_at=resumed_at)
        store = StudyStore(storage, plan.name, sampler, read_pruner(config))
        requeue(store)
        run_ = _Run(plan, folder, store, identity["study_id"], listeners, stream, quiet, [*journal, *missing], missing)
        return run_.drive()


def rank_search(
    source: str | Path | None,
    overrides: Sequence[str] = (),
    *,
    run: str | None = None,
    root: str | Path = "runs",
    folder: str | Path | None = None,
    n: int = 5000,
    say: Callable[[str], None] = lambda text: None,
) -> tuple[Landscape, Path]:
    """Rank configurations by a hypernetwork's predictions, and write table and figures.

    Args:
        source: Path of a config file, whose hypernetwork is trained, or loaded where it is in ``folder`` already.
        overrides: ``dotted.key=value`` texts that win over it.
        run: Run folder, or name below ``root``, whose hypernetwork is loaded; instead of a config.
        root: Folder of the runs.
        folder: Where hypernetwork, table and figures go; by default that of the run, or one beside the runs.
        n: Number of configurations.
        say: Told about progress.

    Returns:
        The landscape, and the folder.

    Raises:
        HypertuneError: The first thing that is wrong.
    """
    from hypertune.ranking import rank_configurations  # plotly is imported for this alone

    if (source is None) == (run is None):
        raise ConfigError("give a config or a run, and not both", where="rank", fix="CONFIG, or --run RUN")
    if run is not None:
        if overrides:
            raise ConfigError("a run's config is what it is", where="-o", given=overrides[0], fix="drop it")
        found = RunFolder.find(run, Path(root))
        if not (found.path / "hypernetwork.pt").exists():
            raise ConfigError(
                "the run has no hypernetwork", where="--run", given=run, fix="name its config instead: it is trained"
            )
        config = Config.load(found.config)
        landscape = rank_configurations(config, read_space(config), found.path, n=n, say=say)
        place = found.path if folder is None else Path(folder)
    else:
        assert source is not None
        plan = plan_search(source, overrides)
        what = plan.experiment.replace("/", "-")
        place = Path(plan.config.study.folder) / f"landscape-{what}" if folder is None else Path(folder)
        place.mkdir(parents=True, exist_ok=True)
        landscape = rank_configurations(plan.config, plan.space, place, n=n, say=say)
    landscape.write(place)
    return landscape, place


def load_result(run: str | None = None, *, root: str | Path = "runs") -> StudyResult:
    """Read the outcome of a run, finished or not, from its Optuna storage.

    Raises:
        HypertuneError: There is no such run, or its storage cannot be read.
    """
    folder = RunFolder.find(run, Path(root))
    identity = folder.read_json(folder.identity)
    config = Config.load(folder.config)
    storage = open_storage(identity["storage"], create=False)
    with storage_errors(identity["storage"]):
        trials = storage.get_all_trials(storage.get_study_id_from_name(identity["study"]), deepcopy=False)
        study = storage.get_study_id_from_name(identity["study"])
        hypernetwork = storage.get_study_user_attrs(study).get(HYPERNETWORK, {})
    finished = folder.result.exists() and bool(folder.read_json(folder.result).get("finished"))
    return _result(
        config, identity["study"], folder.path, trials, finished=finished, tags={}, hypernetwork=hypernetwork
    )


@dataclass(slots=True)
class _Run:
    """One driver's work on one run."""

    plan: Plan
    folder: RunFolder
    store: StudyStore
    study_id: str
    listeners: Sequence[Listener]
    stream: TextIO | None
    quiet: bool
    past: Sequence[Event] = ()
    missing: Sequence[Event] = ()
    started: bool = field(default=False)

    def drive(self) -> StudyResult:
        config, plan = self.plan.config, self.plan
        self.started = bool(self.past)
        info = self._info()
        begun = time.monotonic()
        runner = read_runner(config)
        journal = Journal(self.folder.journal)
        console = Console(
            info,
            n_trials=config.study.n_trials,
            workers=runner.workers,
            stream=self.stream,
            status=lambda: PublisherStatus.read(self.folder.path).line(),
        )
        keep = KeepBestCheckpoint(config.study.direction, keep=config.trial.keep_checkpoints)
        watching: list[Listener] = [keep, *([] if self.quiet else [console]), *self.listeners]
        for event in self.past:
            keep(event)
        if not self.quiet:
            console.note(f"{plan.name}: starting, {runner.workers} worker(s), in {self.folder.path}")

        path = self._prepare_hypernetwork(console.note)
        objective = make_objective(config, plan.space, hypernetwork=path)

        def emit(event: Event) -> None:
            journal(event)  # first: it is what a killed driver is recovered from
            self.started = self.started or isinstance(event, Started)
            for listener in watching:
                listener(event)

        with contextlib.ExitStack() as stack:
            publisher = self._publisher(info, objective)
            if publisher is not None:
                stack.callback(publisher.close, timeout=0)

            def ready() -> None:
                if publisher is not None:
                    publisher.wait_ready()
                emit(StudyOpened(time.time(), info))
                for event in self.missing:
                    emit(event)
                if not self.quiet:
                    stack.enter_context(console)

            loop = AskTell(
                store=self.store,
                runner=runner,
                space=plan.space,
                metric=config.study.metric,
                folder=self.folder.path,
                emit=emit,
                trial_seed=lambda number: trial_seed(config.study.seed, number),
                n_trials=config.study.n_trials,
                deadline=begun + (config.study.timeout or math.inf),
            )
            prunes = not isinstance(self.store.study.pruner, NopPruner)
            with stopped_by_signals(loop.stop, runner, console.note):
                recipe = _Discreet(objective, tuple(secrets_in(config.to_mapping())))
                finished = loop.run(recipe, prunes=prunes, ready=ready)
                result = _result(
                    config,
                    plan.name,
                    self.folder.path,
                    self.store.trials(),
                    finished=finished,
                    tags=info.tags,
                    hypernetwork=self._compared_hypernetwork(),
                )
                content = {
                    **result.to_json(),
                    **findings(self.store.study, config),
                    **selection_luck(self.store.study, result, config),
                }
                if "certificate" in content and not self.quiet:
                    console.note(_certified(content["certificate"]))
                for said in (content.get("selection", {}).get(key) for key in ("statement", "advice")):
                    if said and not self.quiet:
                        console.note(said)
                # What is shown has no credentials; what a resumed run needs of them is in its own private files.
                content = redact_mapping(content, names=False)
                self.folder.write_json(self.folder.result, content)
                best = result.best
                emit(StudyClosed(time.time(), finished, None if best is None else best.number, content))
                if publisher is not None:
                    # A store that has been away for a while is not worth a long wait: resume publishes what it lacks.
                    hopeless = loop.stop.level >= 2 or publisher.status().state == "down"
                    status = publisher.close(timeout=_LAST_SECONDS if hopeless else _PUBLISH_SECONDS)
                    if not status.published:
                        console.note(
                            f"MLflow lacks {status.pending_events} events ({status.error}); they are kept in "
                            f"{self.folder.journal}: `hypertune resume {plan.name}` publishes them"
                        )
        return result

    def _prepare_hypernetwork(self, note: Callable[[str], None]) -> Path | None:
        """Give the sampler its hypernetwork, and the study its price; return the file."""
        config, space = self.plan.config, self.plan.space
        if not wants_hypernetwork(config):
            return None
        kept = self.store.study.user_attrs.get(HYPERNETWORK)
        objective = make_objective(config, space)
        assert isinstance(objective, FamilyObjective)
        say = (lambda text: None) if self.quiet else note
        found = obtain_hypernetwork(objective, self.folder.path, facts=kept, say=say)
        if found.facts != kept:
            self.store.keep(HYPERNETWORK, dict(found.facts))
        self.store.study.sampler = read_sampler(
            config, space, resumed_at=len(self.store.trials()), predictor=found.predictor
        )
        return found.path

    def _compared_hypernetwork(self) -> Mapping[str, Any]:
        """Return what the study keeps of its hypernetwork, the rank correlation with its trials brought up to date."""
        facts: dict[str, Any] = dict(self.store.study.user_attrs.get(HYPERNETWORK, {}))
        rank = rank_correlation(self.store.trials(), maximize=self.plan.config.study.direction == "maximize")
        if facts and rank is not None and facts.get("spearman") != rank:
            facts["spearman"] = rank
            self.store.keep(HYPERNETWORK, facts)
        return facts

    def _publisher(self, info: StudyInfo, objective: Any) -> Publisher | None:
        tracking = self.plan.config.tracking
        if not tracking.enabled or self.plan.tracking is None:
            return None
        family = objective if isinstance(objective, FamilyObjective) else None
        attachments = Attachments(
            load_model=BestModel(family, self.folder.path / "trials") if family and tracking.log_model else None,
            code_paths=tuple(_code_paths(self.plan.config)),
            register=tracking.registered_model,
            describe_data=TaskData(family) if family else None,
            write_report=StudyReport(self.folder.path) if tracking.report else None,
            system_metrics=tracking.system_metrics,
        )
        return Publisher.spawn(
            self.folder.path,
            uri=self.plan.tracking,
            experiment=self.plan.experiment,
            info=info,
            attachments=attachments,
            secrets=secrets_in(self.plan.config.to_mapping()),
        )

    def _info(self) -> StudyInfo:
        config = self.plan.config
        what = {"objective": config.objective} if config.objective else {}
        if config.family is not None:
            what = {"family": config.family.name, "task": _task_name(config)}
        tags = {
            "study_id": self.study_id,
            "sampler": config.sampler.name,
            "pruner": config.pruner.name,
            "seed": str(config.study.seed),
            "config_hash": config.fingerprint(),
            "git_commit": git_commit(config.source or "."),
            "hypertune": __version__,
            **{key: str(value) for key, value in what.items()},
        }
        return StudyInfo(
            name=self.plan.name,
            direction=config.study.direction,
            metric=config.study.metric,
            n_trials=config.study.n_trials,
            folder=str(self.folder.path),
            tags={key: redact(value) for key, value in tags.items() if value},
        )


@dataclass(frozen=True, slots=True)
class _Discreet:
    """A recipe for trials whose process knows which values it must not show."""

    recipe: MakeObjective
    secrets: tuple[str, ...]

    def __call__(self) -> Objective:
        remember(self.secrets)
        return self.recipe()

    @property
    def folder(self) -> Path | None:
        return getattr(self.recipe, "folder", None)

    def moved(self, folder: Path) -> _Discreet:
        move = getattr(self.recipe, "moved", None)
        return self if move is None else replace(self, recipe=move(folder))

    def packed(self) -> _Discreet:
        pack = getattr(self.recipe, "packed", None)
        return self if pack is None else replace(self, recipe=pack())


def trial_seed(seed: int, number: int) -> int:
    """Return the seed of one trial: a function of the study's seed and the trial's number alone."""
    return int(SeedSequence(seed, spawn_key=(number,)).generate_state(1)[0] % 2**31)


def _read(source: str | Path | Mapping[str, Any], overrides: Sequence[str]) -> Config:
    if isinstance(source, Mapping):
        return with_scheduler(Config.from_mapping(source, overrides, source=Path.cwd()))
    return with_scheduler(Config.load(source, overrides))


def _plan(config: Config, space: SearchSpace, *, name: str | None = None, storage: str | None = None) -> Plan:
    what = config.objective or f"{config.family.name if config.family else ''}-{_task_name(config)}"
    what = what.replace(":", ".").replace("/", "-")
    name = name or config.study.name or f"{what}-{datetime.now():%Y%m%d-%H%M%S}"
    root = Path(config.study.folder).resolve()
    storage = storage or config.study.storage or f"sqlite:///{root / 'study.db'}"
    tracking, experiment = config.tracking, config.tracking.experiment or what
    uri = (tracking.uri or f"sqlite:///{root / 'mlflow.db'}") if tracking.enabled else None
    # An objective's value has a name of its own only when the config gives it one.
    named = config.family is not None or "metric" in config.study.model_fields_set
    metric = config.study.metric if named else "value"
    # The stored config must mean the same from any folder, and with any later version of a shipped space.
    resolved = config.replace(
        study=config.study.model_copy(
            update={"name": name, "metric": metric, "folder": str(root), "storage": _absolute(storage)}
        ),
        space=space.to_mapping(),
        tracking=tracking.model_copy(update={"uri": uri and _absolute(uri), "experiment": experiment}),
        family=config.family,
    )
    return Plan(resolved, space, name, root / name, _absolute(storage), uri and _absolute(uri), experiment)


def _task_name(config: Config) -> str:
    if config.tasks is not None:
        return config.tasks.name or f"{len(config.tasks.items)}-tasks"
    return config.task.name if config.task else ""


def _certified(certificate: Mapping[str, Any]) -> str:
    return (
        f"certificate: with probability {1 - certificate['delta']:g} the best candidate's mean utility on new tasks is "
        f"at least {certificate['value']:.3g}; it was {certificate['estimate']:.3g} on {certificate['n']}"
    )


def _absolute(uri: str) -> str:
    scheme, separator, path = uri.partition(":///")
    if separator and scheme.startswith("sqlite") and path and not path.startswith("/") and path != ":memory:":
        return f"{scheme}:///{Path(path).resolve()}"
    return uri


def _refuse_known_name(plan: Plan) -> None:
    folder = RunFolder(plan.folder)
    if not folder.identity.exists():
        return
    there = SearchSpace.load(folder.space) if folder.space.exists() else plan.space
    differences = plan.space.differences(there)
    if differences:
        raise StorageError(
            f"the run of that name has another search space ({'; '.join(differences)})",
            where="study.name",
            given=plan.name,
            fix="choose another study.name",
        )


def _result(
    config: Config,
    name: str,
    folder: Path,
    trials: Any,
    *,
    finished: bool,
    tags: Mapping[str, str],
    hypernetwork: Mapping[str, Any],
) -> StudyResult:
    return StudyResult(
        name=name,
        folder=folder,
        direction=config.study.direction,
        metric=config.study.metric,
        finished=finished,
        trials=trial_records(trials),
        versions=versions(),
        tags=tags,
        hypernetwork=hypernetwork,
    )


def _code_paths(config: Config) -> list[str]:
    """Files of the user's own that the best model needs to be loaded elsewhere."""
    if config.family is None or config.source is None or ":" not in config.family.name:
        return []
    module = config.family.name.partition(":")[0].split(".")[0]
    beside = Path(config.source) / module
    return [str(path) for path in (beside.with_suffix(".py"), beside) if path.exists()]
