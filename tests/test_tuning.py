import json
import tomllib
from datetime import UTC, datetime, timedelta
from xml.etree import ElementTree

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from avrec.config import RunConfig, build
from avrec.errors import ConfigError, InputError
from avrec.models.als import ALSConfig
from avrec.models.bpr import BPRConfig
from avrec.models.neighbours import NeighboursConfig
from avrec.models.svd import SVDConfig
from avrec.schema import INTERACTIONS, TRIALS, conform
from avrec.tuning import (
    Range,
    Trial,
    TuneConfig,
    applied,
    as_toml,
    best,
    format_trials,
    judge,
    learn,
    most_rounds,
    parse_space,
    rounds,
    settings,
    table,
    validation,
)
from avrec.tuning_plot import svg
from avrec.vocab import Vocabulary

ITEMS = Vocabulary.of([f"{row:02}" for row in range(30)])
START = datetime(2024, 1, 1, tzinfo=UTC)


def tastes(num_users=60, length=9, seed=0):
    """Every user takes to items of one of three kinds, one a day."""
    rng, rows = np.random.default_rng(seed), []
    for user in range(num_users):
        liked = rng.permutation(np.arange(user % 3, 30, 3))[:length]
        days = enumerate(liked)
        rows += [(f"u{user}", f"{i:02}", 1.0, START + timedelta(days=day)) for day, i in days]
    columns = [pa.array(column) for column in zip(*rows, strict=True)]
    return conform(pa.table(columns, names=INTERACTIONS.names[:4]), INTERACTIONS)


def test_an_empty_section_is_the_default_space():
    assert build(RunConfig, {}).tune.section == "als"
    space = {"svd.dim": [4, 8]}
    assert build(RunConfig, {"tune": {"space": space}}).tune.space == space


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"space": {}}, "space must have at least one entry"),
        ({"space": {"als": {"reg": [1]}}}, "space needs quoted keys such as"),
        ({"space": {"towers.dim": [1]}}, "space can vary .*, got 'towers.dim'"),
        ({"space": {"als.reg": [1], "svd.dim": [2]}}, "space must be of one section"),
        ({"space": {"als.reg": []}}, "space.'als.reg' must be a list or"),
        ({"space": {"als.reg": 1}}, "space.'als.reg' must be a list or"),
        ({"space": {"als.reg": {"low": 1}}}, "space.'als.reg' must be a list or"),
        ({"space": {"als.reg": {"low": 2, "high": 1}}}, "low must be below high, got 2 and 1"),
        ({"space": {"als.reg": {"low": 0, "high": 1, "log": True}}}, "low must be above 0"),
        ({"search": "grid"}, "a grid needs lists, but 'als.reg' is a range"),
        ({"search": "guess"}, "search must be one of"),
        ({"metric": "auc"}, "metric must be one of"),
        ({"num_trials": 0}, "num_trials must be at least 1, got 0"),
        ({"reduction_factor": 1.0}, "reduction_factor must be above 1"),
        ({"validation_share": 1.0}, r"validation_share must be in \(0, 1\)"),
    ],
)
def test_says_what_is_wrong(wrong, message):
    with pytest.raises(ConfigError, match=message):
        build(RunConfig, {"tune": wrong})


def test_a_grid_is_every_combination():
    space = parse_space({"als.dim": [8, 16], "als.reg": [0.1, 0.2, 0.3]})
    found = settings(space, "grid", 1, seed=0)
    assert len(found) == 6
    assert found[1] == {"als.dim": 8, "als.reg": 0.2}


@given(seed=st.integers(0, 99), count=st.integers(1, 20))
def test_draws_are_different_within_bounds_and_a_longer_list_extends(seed, count):
    space = {"als.dim": Range(4, 64), "als.reg": Range(1e-4, 1.0, log=True), "als.solver": ("cg",)}
    found = settings(space, "random", count, seed)
    assert len({json.dumps(one, sort_keys=True) for one in found}) == count
    assert all(isinstance(one["als.dim"], int) and 4 <= one["als.dim"] <= 64 for one in found)
    assert all(1e-4 <= one["als.reg"] <= 1 for one in found)
    assert settings(space, "random", count + 3, seed)[:count] == found


def test_a_small_space_is_drawn_out():
    assert len(settings({"als.dim": (8, 16)}, "random", 10, seed=0)) == 2


def test_logarithmic_draws_favour_no_size():
    space = {"als.reg": Range(1e-4, 1.0, log=True)}
    found = [one["als.reg"] for one in settings(space, "random", 400, seed=0)]
    assert 0.4 < np.mean(np.array(found) < 1e-2) < 0.6


def test_a_setting_goes_into_its_section():
    made = applied(ALSConfig(epochs=3), {"als.reg": 1, "als.dim": 9})
    assert made == ALSConfig(epochs=3, reg=1.0, dim=9)
    for setting, message in (
        ({"als.regs": 1}, "unknown key 'als.regs'; known are"),
        ({"als.dim": 1.5}, "als.dim is 1.5, expected int"),
        ({"als.dim": True}, "als.dim is True, expected int"),
        ({"als.dim": 0}, "als.dim must be at least 1, got 0"),
    ):
        with pytest.raises(ConfigError, match=message):
            applied(ALSConfig(), setting)


def test_validation_is_the_latest_part_and_knows_nothing_of_it():
    train = tastes()
    task = validation(train, ITEMS, TuneConfig(validation_share=0.2), seed=0)
    assert task.weights.nnz + task.case.relevant.offsets[-1] == len(train)
    assert task.case.relevant.at.min() >= task.case.at > task.case.histories.at.max()
    fewer = validation(train, ITEMS, TuneConfig(validation_share=0.2, max_users=7), seed=0)
    assert len(fewer.case.users) == len(fewer.case.histories) == len(fewer.case.relevant) == 7
    assert set(fewer.case.users.ids.to_pylist()) < set(task.case.users.ids.to_pylist())


def test_nobody_to_judge_is_said():
    with pytest.raises(InputError, match="nobody took to anything new"):
        validation(INTERACTIONS.empty_table(), ITEMS, TuneConfig(), seed=0)


@pytest.mark.parametrize(
    "section",
    [
        ALSConfig(dim=4, epochs=3),
        SVDConfig(dim=3),
        BPRConfig(dim=4, epochs=100),
        NeighboursConfig(side="item"),
        NeighboursConfig(side="user"),
    ],
    ids=lambda section: type(section).__name__,
)
def test_every_section_can_be_learned_and_judged(section):
    config = TuneConfig(k=4, metric="hit_rate", validation_share=0.2)
    task, seen = validation(tastes(), ITEMS, config, seed=0), []
    learn(task, section, lambda model: seen.append(judge(model, task.case, config)), seed=0)
    assert len(seen) == rounds(section)
    assert seen[-1] > 0.7


def test_most_rounds_are_those_of_the_longest():
    assert most_rounds(ALSConfig(epochs=7), {"als.dim": (8,)}) == 7
    assert most_rounds(ALSConfig(epochs=7), {"als.epochs": (3, 9, 5)}) == 9
    assert most_rounds(ALSConfig(), {"als.epochs": Range(2, 20)}) == 20
    assert most_rounds(BPRConfig(epochs=7), {"bpr.epochs": (3, 9)}) == 1


def trials():
    settings = [{"als.reg": 10.0**-n, "als.solver": "cg"} for n in range(4)]
    ended = [(0.1, 3, False), (0.4, 1, True), (0.3, 3, False), (None, 0, False)]
    return table(
        [
            Trial(setting, value, count, stopped, 1.0, None if value else "it <broke>")
            for setting, (value, count, stopped) in zip(settings, ended, strict=True)
        ],
        "ndcg",
        10,
    )


def test_the_best_ran_to_its_end():
    found = trials()
    assert found.schema == TRIALS
    assert found["value"].to_pylist() == [0.4, 0.3, 0.1, None]
    setting = best(found)
    assert setting == {"als.reg": 0.01, "als.solver": "cg"}
    assert tomllib.loads(as_toml(setting)) == {"als": {"reg": 0.01, "solver": "cg"}}
    with pytest.raises(InputError, match="no trial ran to its end"):
        best(found.slice(3))


def test_trials_are_a_line_each():
    lines = format_trials(trials(), 3).splitlines()
    assert lines[0] == "ndcg@10 0.4000  als.reg=0.1 als.solver=cg  rounds=1, stopped early"
    assert lines[3] == "and 1 more"
    assert format_trials(trials()).splitlines()[3].endswith("rounds=0, it <broke>")


def test_plot_has_a_panel_a_key_and_a_dot_a_trial():
    root = ElementTree.fromstring(svg(trials()))  # noqa: S314 our own
    panels = root.findall(".//{*}g")
    assert len(panels) == 2
    circles = panels[0].findall("{*}circle")
    assert len(circles) == 3 + 1, "a ring around the best"
    assert [dot.get("fill") for dot in circles].count("none") == 2
    words = {text.text for text in panels[0].findall(".//{*}text")}
    assert {"als.reg", "ndcg@10", "0.01", "1", "0.1000", "0.4000"} <= words
    assert ElementTree.fromstring(svg(trials().slice(3))).tag.endswith("svg")  # noqa: S314
