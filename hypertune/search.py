"""The composition root: a config becomes a running search, a run folder becomes a resumed one.

It constructs and wires; what the parts do is theirs.
"""

from __future__ import annotations

import contextlib
import math
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, TextIO

import optuna
from numpy.random import SeedSequence
from optuna.pruners import NopPruner

from hypertune import __version__
from hypertune._yaml import dump_yaml
from hypertune.config import Config
from hypertune.driver.ask_tell import AskTell
from hypertune.driver.attributes import trial_records
from hypertune.driver.recovery import recover, requeue
from hypertune.driver.signals import stopped_by_signals
from hypertune.driver.study_store import StudyStore, open_storage, storage_errors
from hypertune.errors import ConfigError, HypertuneError, StorageError
from hypertune.many_tasks import findings
from hypertune.objectives import BestModel, FamilyObjective
from hypertune.provenance import git_commit, versions
from hypertune.records import Event, Listener, Started, StudyClosed, StudyInfo, StudyOpened
from hypertune.reporting.result import StudyResult
from hypertune.run_folder import RunFolder
from hypertune.selection_luck import selection_luck
from hypertune.space import SearchSpace
from hypertune.tracking.checkpoints import KeepBestCheckpoint
from hypertune.tracking.console import Console
from hypertune.tracking.journal import Journal
from hypertune.tracking.publisher import Publisher
from hypertune.tracking.status import PublisherStatus
from hypertune.wiring import (
    make_objective,
    read_pruner,
    read_runner,
    read_sampler,
    read_space,
)

__all__ = ["Plan", "check_search", "load_result", "plan_search", "resume_search", "run_search"]

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
            folder.write_text(folder.config, plan.config.to_yaml())
            folder.write_text(folder.space, dump_yaml(plan.space.to_mapping()))
            folder.write_json(folder.identity, identity)
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
        config = Config.load(folder.config, overrides)
        plan = _plan(config, read_space(config), name=identity["study"], storage=identity["storage"])
        storage = open_storage(plan.storage, create=False)
        journal, _ = Journal(folder.journal).read()
        missing = recover(storage, plan.name, journal, plan.space.distributions)
        if overrides:
            folder.write_text(folder.config, plan.config.to_yaml())
            folder.write_json(folder.identity, {**identity, "tracking": plan.tracking})
        with storage_errors(plan.storage):
            resumed_at = len(storage.get_all_trials(storage.get_study_id_from_name(plan.name), deepcopy=False))
        sampler = read_sampler(config, plan.space, resumed_at=resumed_at)
        store = StudyStore(storage, plan.name, sampler, read_pruner(config))
        requeue(store)
        run_ = _Run(plan, folder, store, identity["study_id"], listeners, stream, quiet, [*journal, *missing], missing)
        return run_.drive()


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
    finished = folder.result.exists() and bool(folder.read_json(folder.result).get("finished"))
    return _result(config, identity["study"], folder.path, trials, finished=finished, tags={})


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
        objective = make_objective(config, plan.space)
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
                deadline=time.monotonic() + (config.study.timeout or math.inf),
            )
            prunes = not isinstance(self.store.study.pruner, NopPruner)
            with stopped_by_signals(loop.stop, runner, console.note):
                finished = loop.run(objective, prunes=prunes, ready=ready)
                result = _result(
                    config, plan.name, self.folder.path, self.store.trials(), finished=finished, tags=info.tags
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

    def _publisher(self, info: StudyInfo, objective: Any) -> Publisher | None:
        tracking = self.plan.config.tracking
        if not tracking.enabled or self.plan.tracking is None:
            return None
        load_model = None
        if tracking.log_model and isinstance(objective, FamilyObjective):
            load_model = BestModel(objective, self.folder.path / "trials")
        return Publisher.spawn(
            self.folder.path,
            uri=self.plan.tracking,
            experiment=self.plan.experiment,
            info=info,
            load_model=load_model,
            code_paths=_code_paths(self.plan.config),
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
            tags={key: value for key, value in tags.items() if value},
        )


def trial_seed(seed: int, number: int) -> int:
    """Return the seed of one trial: a function of the study's seed and the trial's number alone."""
    return int(SeedSequence(seed, spawn_key=(number,)).generate_state(1)[0] % 2**31)


def _read(source: str | Path | Mapping[str, Any], overrides: Sequence[str]) -> Config:
    if isinstance(source, Mapping):
        return Config.from_mapping(source, overrides, source=Path.cwd())
    return Config.load(source, overrides)


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
    config: Config, name: str, folder: Path, trials: Any, *, finished: bool, tags: Mapping[str, str]
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
    )


def _code_paths(config: Config) -> list[str]:
    """Files of the user's own that the best model needs to be loaded elsewhere."""
    if config.family is None or config.source is None or ":" not in config.family.name:
        return []
    module = config.family.name.partition(":")[0].split(".")[0]
    beside = Path(config.source) / module
    return [str(path) for path in (beside.with_suffix(".py"), beside) if path.exists()]
