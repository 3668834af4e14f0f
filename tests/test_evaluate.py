from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest

from avrec.evaluate import (
    EvaluateConfig,
    among_negatives,
    cases,
    evaluate,
    format_table,
    lists_of,
)
from avrec.index import Lister, TopK, VectorLister
from avrec.interactions import Histories
from avrec.models import popularity
from avrec.schema import INTERACTIONS, METRICS, conform, empty
from avrec.splits import Split
from avrec.vocab import Vocabulary

ITEMS = Vocabulary.of(list("abcdef"))
CONFIG = EvaluateConfig(k=(1, 2), bootstrap_samples=50)
PARTS = ("warm_users", "new_users", "warm_items", "cold_items")
START = datetime(2024, 1, 1, tzinfo=UTC)


def interactions(text, day):
    """Make one row a word: `ua` says that user u took to item a."""
    rows = [(word[0], word[1:], 1.0, START + timedelta(days=day)) for word in text.split()]
    columns = [pa.array(column) for column in zip(*rows, strict=True)] or [[]] * 4
    return (
        conform(pa.table(columns, names=INTERACTIONS.names[:4]), INTERACTIONS)
        if rows
        else empty(INTERACTIONS)
    )


def split_of(train, rank, test):
    at = [int((START + timedelta(days=day)).timestamp() * 1e6) for day in (10, 20)]
    tables = (interactions(train, 0), interactions(rank, 10), interactions(test, 20))
    return Split(*tables, *at)


SPLIT = split_of("ua ub va wa", "vb", "uc ua vf xa xunknown")
"""Before the cut a is played by three, b by two; then u finds c, v the new f, x arrives."""


def at_the_cut():
    return cases(SPLIT, ITEMS)[0]


def value(metrics, **wanted):
    rows = [row for row in metrics.to_pylist() if wanted.items() <= row.items()]
    assert len(rows) == 1
    return rows[0]["value"]


def rows_of(*words):
    return np.array([["abcdef".find(letter) for letter in word] for word in words], np.int32)


def test_case_knows_the_past_and_asks_for_what_is_new():
    made = at_the_cut()
    assert made.users.ids.to_pylist() == ["u", "v", "x"]
    assert [made.histories.row(user).tolist() for user in range(3)] == [[0, 1], [0, 1], []]
    assert [made.relevant.row(user).tolist() for user in range(3)] == [[2], [5], [0]]
    assert made.counts.tolist() == [3, 2, 0, 0, 0, 0]
    assert made.at == SPLIT.test_at


def test_second_half_is_told_the_first():
    split = split_of("ua", "", "ub uc ud ue uf vb")
    made = cases(split, ITEMS)[1]
    assert made.name == "test/second_half"
    assert made.users.ids.to_pylist() == ["u", "v"]
    assert [made.histories.row(user).tolist() for user in range(2)] == [[0, 1, 2], []]
    assert [made.relevant.row(user).tolist() for user in range(2)] == [[3, 4, 5], [1]]
    assert made.counts.tolist() == [1, 0, 0, 0, 0, 0]


def test_popularity_offers_what_is_not_in_the_history():
    lists = lists_of([popularity.fit(SPLIT.train, ITEMS)], at_the_cut(), 3)
    assert lists["popularity"].tolist() == [[2, 3, 4], [2, 3, 4], [0, 1, 2]]


class Alphabet:
    """Lists the catalogue in its order."""

    name = "alphabet"

    def lists(self, histories, k, exclude=None):
        rows = [
            np.setdiff1d(np.arange(6), exclude.row(query))[:k] for query in range(len(histories))
        ]
        return TopK(np.stack(rows).astype(np.int32), np.zeros((3, k), np.float32))


def test_a_model_may_list_for_itself():
    assert isinstance(Alphabet(), Lister)
    lists = lists_of([Alphabet(), popularity.fit(SPLIT.train, ITEMS)], at_the_cut(), 2)
    assert lists["alphabet"].tolist() == [[2, 3], [2, 3], [0, 1]]
    assert lists["popularity"].tolist() == [[2, 3], [2, 3], [0, 1]]


def test_many_queries_are_listed_in_blocks(monkeypatch):
    lister = VectorLister(popularity.fit(SPLIT.train, ITEMS))
    histories = Histories.of([np.array([n % 3]) for n in range(10)])
    whole = lister.lists(histories, 2, exclude=histories)
    monkeypatch.setattr("avrec.index.VECTORS_PER_BLOCK", 3)
    np.testing.assert_array_equal(lister.lists(histories, 2, exclude=histories).idx, whole.idx)
    assert lister.lists(histories.take(np.empty(0, np.int32)), 2).idx.shape == (0, 2)


def test_held_out_item_stands_among_its_negatives():
    model = popularity.fit(interactions("ua va wa ub vb uc", 0), ITEMS)
    histories = Histories.of([[], [], []])
    held_out, negatives = np.array([0, 2, 3]), np.array([[1, 2], [0, 3], [4, 5]])
    hits = among_negatives(model, histories, held_out, negatives)
    assert hits.argmax(axis=1).tolist() == [0, 1, 2]


def test_held_out_item_is_no_rival_of_its_own():
    model = popularity.fit(interactions("ua va ub", 0), ITEMS)
    hits = among_negatives(model, Histories.of([[]]), np.array([1]), np.array([[1, 0, 1, 2]]))
    assert hits.tolist() == [[False, True, False, False, False]]


def test_each_split_counts_its_own_users():
    lists = {"mine": rows_of("dc", "fe", "ba")}
    metrics = evaluate(lists, at_the_cut(), CONFIG, seed=0)
    assert metrics.schema == METRICS
    recall_at = {
        (split, k): value(metrics, split=split, metric="recall", k=k)
        for split in ("test", *(f"test/{part}" for part in PARTS))
        for k in (1, 2)
    }
    assert recall_at == {
        ("test", 1): pytest.approx(1 / 3),
        ("test", 2): 1,
        ("test/warm_users", 1): 1 / 2,
        ("test/warm_users", 2): 1,
        ("test/new_users", 1): 0,
        ("test/new_users", 2): 1,
        ("test/warm_items", 1): 0,
        ("test/warm_items", 2): 1,
        ("test/cold_items", 1): 1 / 2,
        ("test/cold_items", 2): 1,
    }
    assert value(metrics, split="test", metric="mrr", k=2) == pytest.approx((1 / 2 + 1 + 1 / 2) / 3)
    assert value(metrics, split="test", metric="coverage", k=1) == 3 / 6


def test_without_cold_items_there_is_no_word_of_warm_ones():
    [known, _] = cases(split_of("ua ub va", "", "vb"), ITEMS)
    metrics = evaluate({"mine": rows_of("bc")}, known, CONFIG, seed=0)
    assert set(metrics["split"].to_pylist()) == {"test"}


def test_gain_is_the_difference_to_popularity_user_by_user():
    lists = {"popularity": rows_of("cd", "ed", "ed"), "mine": rows_of("cd", "fd", "ed")}
    metrics = evaluate(lists, at_the_cut(), CONFIG, seed=0).to_pylist()
    gains = [r for r in metrics if r["metric"] == "recall_gain" and r["k"] == 1]
    assert {row["model"] for row in gains} == {"mine"}
    assert gains[0]["value"] == pytest.approx(1 / 3)
    assert gains[0]["low"] >= 0


def test_an_empty_list_finds_nothing():
    metrics = evaluate({"mute": rows_of("..", "..", "..")}, at_the_cut(), CONFIG, seed=0)
    assert value(metrics, split="test", metric="recall", k=2) == 0
    assert np.isnan(value(metrics, split="test", metric="novelty", k=2))


def test_intervals_depend_on_the_seed_alone():
    lists = {"one": rows_of("dc", "fe", "ba"), "two": rows_of("cd", "ef", "ab")}
    made = at_the_cut()
    both = evaluate(lists, made, CONFIG, seed=3)
    turned = evaluate(dict(reversed(lists.items())), made, CONFIG, seed=3)
    key = [
        ("model", "ascending"),
        ("split", "ascending"),
        ("metric", "ascending"),
        ("k", "ascending"),
    ]
    assert both.sort_by(key) == turned.sort_by(key)


def test_nothing_to_judge_is_an_empty_report():
    for nothing in cases(split_of("ua", "", "ua"), ITEMS):
        metrics = evaluate({"mine": np.empty((0, 2), np.int32)}, nothing, CONFIG, seed=0)
        assert len(metrics) == 0
    assert format_table(metrics) == "no user has anything relevant after the cut"


def test_table_has_a_line_a_model():
    lists = {"one": rows_of("dc", "fe", "ba"), "other": rows_of("cd", "ef", "ab")}
    text = format_table(evaluate(lists, at_the_cut(), CONFIG, seed=0))
    block = text.split("\n\n")[1].splitlines()
    assert block[0].startswith("test/warm_users: 2 users")
    assert block[1].split()[:3] == ["model", "recall@2", "ndcg@2"]
    assert block[2].split()[:2] == ["one", "1.0000"]
    assert block[3].split()[0] == "other"


@pytest.mark.parametrize("k", [(), (0,)])
def test_rejects_k_below_one(k):
    with pytest.raises(ValueError, match="k must be one or more numbers of at least 1"):
        EvaluateConfig(k=k)
