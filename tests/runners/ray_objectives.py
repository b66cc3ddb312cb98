"""Objectives for Ray workers; nothing heavy is imported."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

from hypertune.records import Cost, TrialResult

COUNTS = {"trials": 0, "nested": {"values": []}}
SEEN = []
LIMIT = 3


def value(trial):
    trial.report(0, {"value": trial.params["x"]})
    return trial.params["x"]


def leaves_traces(trial):
    """Return how much of another trial can be seen, and leave traces."""
    import ray_lazy

    global LIMIT, ADDED
    found = [
        COUNTS != {"trials": 0, "nested": {"values": []}},
        bool(SEEN),
        LIMIT != 3,
        "ADDED" in globals(),
        ray_lazy.STATE != [],
        "TRACE" in os.environ,
        os.environ["HOME"] == "/nowhere",
        Path.cwd() == Path("/"),
        "/trace" in sys.path,
    ]
    COUNTS["trials"] += 1
    COUNTS["nested"]["values"].append(1)
    SEEN.append(trial.number)
    LIMIT, ADDED = 4, True
    ray_lazy.STATE.append(1)
    os.environ.update(TRACE="1", HOME="/nowhere")
    os.chdir("/")
    sys.path.append("/trace")
    return TrialResult(float(sum(found)), {"pid": float(os.getpid())})


def prints(trial):
    print("hello from the trial", flush=True)
    os.write(2, b"and from below Python\n")
    (trial.folder / "sub").mkdir()
    (trial.folder / "sub" / "notes.txt").write_text("kept")
    (trial.folder / "best.pt").write_bytes(b"w" * 300_000)
    return TrialResult(trial.params["x"], checkpoint=str(trial.folder / "best.pt"), cost=Cost(1, 2, 3.0))


def raises(trial):
    print("about to fail", flush=True)
    raise ZeroDivisionError("one by zero")


def sleeps(trial):
    trial.report(0, {"pid": os.getpid()})
    time.sleep(600)


def dies(trial):
    os.kill(os.getpid(), signal.SIGKILL)


def one_after_the_other(trial):
    """Do what the trial's number says, all in one worker until it dies."""
    return [leaves_traces, leaves_traces, prints, raises, sleeps, leaves_traces, dies, value][trial.number](trial)


def kills_its_actor(trial):
    """What losing a machine looks like from the driver: the actor above is gone."""
    (trial.folder / "state.pt").write_bytes(b"saved")
    time.sleep(2.0)
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(600)


def counts_to(trial):
    """Go on from the saved step, save after every one, and say where it was begun and ended."""
    state, steps = trial.folder / "state.pt", int(os.environ.get("STEPS", "16"))
    begun = json.loads(state.read_text())["step"] if state.exists() else 0
    for step in range(begun, steps):
        time.sleep(0.25)
        trial.report(step, {"value": trial.params["x"]})
        fresh = trial.folder / "state.tmp"
        fresh.write_text(json.dumps({"step": step + 1}))
        fresh.replace(state)
    state.unlink(missing_ok=True)
    shipped = "working_dir_files" in __file__
    return TrialResult(trial.params["x"], {"begun": float(begun), "shipped": float(shipped)})
