from __future__ import annotations

import json
import math
import warnings

import optuna
import plotly.graph_objects as go
import pytest

from hypertune import registry
from hypertune._yaml import dump_yaml
from hypertune.reporting._chart import Axis, log_ticks, robust_range
from hypertune.reporting._matplotlib import write_png
from hypertune.reporting._plotly import to_plotly
from hypertune.reporting._study import read_study
from hypertune.reporting.figures.contract import Drawing, LeftOut
from hypertune.reporting.figures.importance import importances

FIGURES = registry.names("figure")


def draw(name, *studies):
    return registry.load("figure", name).draw(studies)


def panels(drawing, view=None):
    return drawing.views[next(iter(drawing.views)) if view is None else view]


def marks(panel, colour, kind=None):
    return [mark for mark in panel.marks if mark.colour == colour and kind in (None, mark.kind)]


def everything(drawing):
    return [panel for view in drawing.views.values() for panel in view]


def test_the_figures_that_are_promised_are_there():
    promised = {"history", "tuning_paths", "start_to_end", "importance", "parallel_coordinates", "slices", "predicted"}
    assert promised | {"racing", "certificates", "learning_curves", "workers", "comparison"} == set(FIGURES)


@pytest.mark.parametrize("name", FIGURES)
def test_plotly_and_matplotlib_accept_every_figure(name, ordinary, racing, tmp_path):
    studies = [read_study(ordinary.path), read_study(racing.path)]
    drawn = [draw(name, *studies)] if name == "comparison" else [draw(name, study) for study in studies]
    drawn = [drawing for drawing in drawn if isinstance(drawing, Drawing)]
    assert drawn or name == "predicted"
    for drawing in drawn:
        for panel in everything(drawing):
            figure = json.loads(json.dumps(to_plotly(panel), allow_nan=False))
            text = json.dumps(figure).replace('"@', '"#00000')  # roles of colours are not plotly's to know
            figure = json.loads(text)
            for trace in figure["data"]:
                for part in (trace.get("marker", {}), trace.get("line", {}), trace.get("textfont", {})):
                    part.pop("color", None)
                trace.get("marker", {}).get("line", {}).pop("color", None)
            layout = {key: value for key, value in figure["layout"].items() if key != "annotations"}
            for axis in ("xaxis", "yaxis"):
                layout[axis] = {k: v for k, v in layout[axis].items() if not k.endswith("color")}
            go.Figure(figure["data"], layout)
        write_png(panels(drawing)[:2], tmp_path / "image.png", title=name)
        assert (tmp_path / "image.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_history_is_the_best_value_at_the_cost_spent_by_then(ordinary):
    drawing = draw("history", read_study(ordinary.path))
    assert list(drawing.views) == ["epochs", "wall-clock", "trials"]
    (panel,) = panels(drawing)
    (line,) = marks(panel, "best")
    # Two epochs each; values 6, 5, 4, 3, 2, 1, then worse ones.
    assert list(line.x) == [2.0 * (i + 1) for i in range(12)] + [26.0]
    assert list(line.y) == [6, 5, 4, 3, 2, 1, 1, 1, 1, 1, 1, 1, 1]
    (winner,) = marks(panel, "winner")
    assert (winner.x, winner.y, winner.trials) == ([12.0], [1.0], [5])
    (pruned,) = marks(panel, "pruned")
    assert (list(pruned.x), list(pruned.y), list(pruned.trials)) == ([25.0], [9.5], [12])
    (clock,) = panels(drawing, "wall-clock")
    assert marks(clock, "best")[0].x[0] == 5.0  # opened, started, three reports, finished: five seconds apart


def test_maximized_values_grow(racing):
    (panel,) = panels(draw("history", read_study(racing.path)))
    assert list(marks(panel, "best")[0].y) == [0.6, 0.75, 0.75]
    assert marks(panel, "winner")[0].trials == [2]


def test_time_between_sessions_does_not_count(make_run):
    run = make_run()
    run.start(0, lr=0.01)
    run.finish(0, 1.0)
    run.close(finished=False)
    run.now += 10_000.0
    run.opened()
    run.start(1, lr=0.01)
    run.finish(1, 0.5)
    study = read_study(run.path)
    assert study.state == "open"
    assert study.ends[0] == 2.0
    assert study.ends[1] == 5.0  # one second each for the close, the start and the end


def test_paths_are_what_was_reported_in_the_range_of_the_space(ordinary):
    (panel,) = panels(draw("tuning_paths", read_study(ordinary.path)))
    (winner,) = marks(panel, "winner")
    assert list(winner.x[:3]) == [0, 1, 2]
    assert list(winner.y[:3]) == pytest.approx([0.6, 0.5, 0.4])
    assert winner.label == "0.4"
    assert panel.y.range[0] < 0.0 < 0.8 < panel.y.range[1]
    (others,) = marks(panel, "trial")
    assert sum(number is not None for number in others.trials) == 11 * 3 + 1  # the pruned trial reported once


def test_start_to_end_joins_both_ends(ordinary):
    (panel,) = panels(draw("start_to_end", read_study(ordinary.path)))
    (line,) = marks(panel, "winner", "line")
    assert line.x[:2] == [0.6, 0.4]
    assert line.y[:2] == [1.0, 1.0]
    start, end = marks(panel, "winner", "points")
    assert (start.hollow, start.x, end.hollow, end.x) == (True, [0.6], False, [0.4])


def test_importance_is_optunas(ordinary):
    study = read_study(ordinary.path)
    found = importances(study)
    again = optuna.create_study()
    for trial in study.measured:
        distributions = {name: study.space.distributions[name] for name in trial.params}
        again.add_trial(optuna.trial.create_trial(params=trial.params, distributions=distributions, value=trial.value))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        evaluator = optuna.importance.PedAnovaImportanceEvaluator()
    assert found == pytest.approx(optuna.importance.get_param_importances(again, evaluator=evaluator))
    assert sum(found.values()) == pytest.approx(1.0)
    drawing = draw("importance", study)
    (panel,) = panels(drawing)
    assert sorted(panel.marks[0].x, reverse=True) == list(panel.marks[0].x)


def test_importance_says_why_it_is_left_out(make_run):
    few = make_run()
    for number in range(9):
        few.start(number, lr=0.01)
        few.finish(number, float(number))
    assert "fewer than 10" in draw("importance", read_study(few.path)).reason
    same = make_run(space={"lr": {"type": "float", "low": 0.1, "high": 1.0}})
    for number in range(12):
        same.start(number, lr=0.5)
        same.finish(number, 1.0)
    assert isinstance(draw("importance", read_study(same.path)), LeftOut)


def test_slices_have_one_panel_for_each_hyperparameter_that_varies(ordinary):
    drawing = draw("slices", read_study(ordinary.path))
    by_title = {panel.title: panel for panel in panels(drawing)}
    assert list(by_title) == ["lr", "dropout", "units (units)", "kind", "slope"]
    assert by_title["lr"].x.log
    assert by_title["lr"].doc == "step size"
    assert by_title["kind"].x.ticks == {0.0: "relu", 1.0: "tanh", 2.0: "null", 3.0: "true"}
    assert by_title["slope"].doc == "9 trials without it"
    assert len(by_title["slope"].marks[0].x) == 3
    for place, number in zip(by_title["kind"].marks[0].x, by_title["kind"].marks[0].trials, strict=True):
        assert abs(place - number % 4) < 0.3


def test_parallel_coordinates_run_below_an_axis_that_a_trial_lacks(ordinary):
    drawing = draw("parallel_coordinates", read_study(ordinary.path))
    assert list(drawing.views) == ["best half", "best fifth", "all"]
    (panel,) = panels(drawing, "all")
    assert next(iter(panel.x.ticks.values())).startswith("lr\n")
    (winner,) = marks(panel, "winner")
    names = [label.split("\n")[0] for label in panel.x.ticks.values()]
    assert names == ["lr", "dropout", "units", "kind", "slope", "rank"]
    heights = dict(zip(names, winner.y, strict=True))
    assert heights["lr"] == pytest.approx((5 / 4) / 3)
    assert heights["units"] == pytest.approx(5 / 60)
    assert heights["slope"] < 0  # trial 5 has tanh
    assert heights["rank"] == 1.0


def test_predicted_against_real(ordinary):
    study = read_study(ordinary.path)
    assert draw("predicted", study).reason == "no model predicted its trials"
    object.__setattr__(study, "predicted", {number: float(number) for number in range(8)})
    drawing = draw("predicted", study)
    (panel,) = panels(drawing)
    (others,) = marks(panel, "trial")
    assert list(zip(others.x, others.y, strict=True)) == [(float(n), 1.0 + abs(n - 5)) for n in range(8)]
    # Spearman by hand: values 6 5 4 3 2 1 2 3 have the ranks 8 7 6 4.5 2.5 1 2.5 4.5.
    x, y = range(1, 9), [8, 7, 6, 4.5, 2.5, 1, 2.5, 4.5]
    mean = 4.5
    expected = sum((a - mean) * (b - mean) for a, b in zip(x, y, strict=True)) / math.sqrt(
        sum((a - mean) ** 2 for a in x) * sum((b - mean) ** 2 for b in y)
    )
    assert f"rank correlation {expected:.2f}" in drawing.caption


def test_predictions_are_read_from_the_optuna_storage(make_run, tmp_path):
    run = make_run()
    storage = f"sqlite:///{tmp_path / 'study.db'}"
    study = optuna.create_study(study_name="s", storage=storage)
    for number in range(3):
        run.start(number, lr=0.01)
        run.finish(number, float(number))
        trial = study.ask()
        trial.set_user_attr("hypertune:predicted", 0.5 * number)
        study.tell(trial, float(number))
    run.folder.write_json(run.folder.identity, {"study": "s", "storage": storage})
    read = read_study(run.path)
    assert read.predicted == {0: 0.0, 1: 0.5, 2: 1.0}
    assert not read.notes
    run.folder.write_json(run.folder.identity, {"study": "s", "storage": "sqlite:////nowhere/user:hunter2@x.db"})
    read = read_study(run.path)
    assert read.predicted == {}
    assert "cannot be read" in read.notes[0]
    assert "hunter2" not in read.notes[0]


def test_the_race_shows_means_so_far(racing):
    drawing = draw("racing", read_study(racing.path))
    (panel,) = panels(drawing)
    (winner,) = marks(panel, "winner")
    assert list(winner.x[:4]) == [1, 2, 3, 4]
    assert list(winner.y[:4]) == pytest.approx([0.6, 0.7, 0.7, 0.75])
    stopped = marks(panel, "pruned", "points")[0]
    assert (stopped.x, stopped.trials) == ([2.0], [0])
    assert stopped.y == pytest.approx([0.2])
    assert marks(panel, "accent")[0].trials[0] == 1
    assert "3 candidates, 1 stopped early, 2 not shown to be worse" in drawing.caption
    assert isinstance(draw("learning_curves", read_study(racing.path)), LeftOut)


def test_certificates_reach_from_what_was_measured_to_what_is_guaranteed(racing, ordinary):
    tasks, hold_out = panels(draw("certificates", read_study(racing.path)))
    assert marks(tasks, "accent", "line")[0].x == [0.25, 0.75]
    assert "95% confidence at least 0.25" in tasks.doc
    assert marks(hold_out, "winner")[0].x == [0.7]
    assert "nothing is certified" in draw("certificates", read_study(ordinary.path)).reason


def test_learning_curves_put_the_studys_metric_first(ordinary):
    drawing = draw("learning_curves", read_study(ordinary.path))
    assert [panel.title for panel in panels(drawing)] == ["val/loss", "val/accuracy"]
    assert list(marks(panels(drawing)[0], "winner")[0].y[:3]) == [3.0, 2.0, 1.0]


def test_the_time_line_has_one_row_for_each_worker(ordinary):
    drawing = draw("workers", read_study(ordinary.path))
    (panel,) = panels(drawing)
    assert list(panel.y.ticks.values()) == ["local-0", "local-1"]
    (winner,) = marks(panel, "winner")
    assert (winner.trials, winner.y, winner.left[0] < winner.x[0]) == ([5], [-1.0], True)
    assert marks(panel, "accent")[0].trials == [14]  # running: up to the last event
    assert marks(panel, "failed")[0].trials == [13]


def test_comparison_has_a_line_for_each_study_and_a_panel_for_each_metric(ordinary, racing, make_run):
    other = make_run("other")
    other.start(0, lr=0.01)
    other.finish(0, 0.5, epochs=30)
    studies = [read_study(run.path) for run in (ordinary, racing, other)]
    drawing = draw("comparison", *studies)
    assert [panel.title for panel in panels(drawing)] == ["minimize val/loss", "maximize val/accuracy"]
    loss = panels(drawing)[0]
    assert [mark.colour for mark in loss.marks] == ["s0", "s0", "s2", "s2"]
    assert loss.marks[3].x == [30.0]
    assert loss.marks[3].y == [0.5]
    assert isinstance(draw("comparison", studies[0]), LeftOut)


@pytest.mark.parametrize("name", [name for name in FIGURES if name != "comparison"])
@pytest.mark.parametrize("what", ["empty", "all failed", "running", "infinite", "constant", "no space", "reports NaN"])
def test_a_study_without_data_for_a_figure_leaves_it_out_with_a_reason(name, what, make_run):
    run = make_run()
    if what != "empty":
        for number in range(11):
            run.start(number, lr=0.01, dropout=0.1, units=5, kind="tanh", fixed=3)
            run.report(number, 0, {"val/loss": math.nan if what == "reports NaN" else 1.0}, {"dropout": 0.1})
            run.report(number, 1, {"val/loss": math.nan if what == "reports NaN" else 1.0}, {"dropout": 0.2})
            if what == "all failed":
                run.fail(number, "no")
            elif what == "infinite":
                run.finish(number, [math.inf, -math.inf][number % 2])
            elif what != "running":
                run.finish(number, 1.0)
    if what == "no space":
        run.folder.write_text(run.folder.space, "[]")
    drawn = draw(name, read_study(run.path))
    if isinstance(drawn, LeftOut):
        assert drawn.reason
    else:
        assert what != "empty"
        for panel in everything(drawn):
            assert any(mark.x for mark in panel.marks)
            json.dumps(to_plotly(panel), allow_nan=False)


def test_many_choices_are_thinned_and_hostile_ones_stay_text(make_run, tmp_path):
    choices = [f"choice <b>{i}</b> $x$ %{{y}} 😀" for i in range(40)]
    run = make_run(space={"kind": {"type": "categorical", "choices": choices}})
    for number, choice in enumerate(choices):
        run.start(number, kind=choice)
        run.finish(number, float(number))
    (panel,) = panels(draw("slices", read_study(run.path)))
    assert len(panel.x.ticks) <= 12
    labels = to_plotly(panel)["layout"]["xaxis"]["ticktext"]
    assert all("<b" not in label and "%{" not in label for label in labels)
    write_png([panel], tmp_path / "x.png", title="$\\frac{$ <b> 😀")


def test_a_few_bad_values_do_not_flatten_the_rest():
    values = [1.0, 1.1, 1.2, 1.3, 1.4, 500.0]
    low, high = robust_range(values, "minimize")
    assert low < 1.0
    assert 1.4 < high < 2.0
    low, high = robust_range([-v for v in values], "maximize")
    assert -2.0 < low < -1.4
    assert robust_range([], "minimize") is None
    low, high = robust_range([2.0], "minimize")
    assert low < 2.0 < high


@pytest.mark.parametrize(
    ("low", "high", "labels"),
    [(1e-6, 1e-2, ["1e-6", "1e-5", "0.0001", "0.001", "0.01"]), (0.1, 1.0, ["0.1", "0.2", "0.5", "1"])],
)
def test_logarithmic_ticks_are_round(low, high, labels):
    assert list(log_ticks(Axis("", True, (low, high))).values()) == labels


def test_a_changed_space_still_draws(ordinary):
    ordinary.folder.write_text(ordinary.folder.space, dump_yaml({"lr": {"type": "float", "low": 1, "high": 2}}))
    study = read_study(ordinary.path)
    for name in FIGURES:
        assert draw(name, study) is not None
