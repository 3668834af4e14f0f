import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from avrec import checks
from avrec.factors import Factors
from avrec.growth import Changes, Move, MovedLister, MovedSearcher, grow
from avrec.index import Scan, TopK
from avrec.interactions import Histories
from avrec.models import als, cold
from avrec.models.cold import ColdConfig
from avrec.schema import ITEMS
from avrec.store import Workspace
from avrec.vocab import Vocabulary
from tests.bundles import ENCODER, means, write_bundle, write_content

WORDS = {"b": "blues guitar slide", "r": "racing cars engine"}
TITLES = {f"{kind}{n}": f"{words} {n}" for kind, words in WORDS.items() for n in range(5)}
CATALOGUE = [{"item_id": i, "title": t, "tags": [i[0]]} for i, t in TITLES.items()]
PAIRS = [(f"{kind}-fan", f"{kind}{n}") for kind in WORDS for n in range(4)] + [("b-fan", "r4")]


def table(rows):
    return pa.Table.from_pylist(list(rows), schema=ITEMS)


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    """Words as content, and ALS factors that tell the kinds apart, with their map from words."""
    workspace = Workspace(str(tmp_path_factory.mktemp("grown")))
    pooled = write_content(workspace, CATALOGUE)
    vectors = np.zeros((len(CATALOGUE), 2), np.float32)
    vectors[np.arange(10), [int(i[0] == "r") for i in sorted(TITLES)]] = 1
    factors = Factors(pooled.items, vectors)
    learned = cold.learn(factors, pooled.joined(), ColdConfig(reg=0.1))
    with workspace.create("als", workspace.recipe({})) as draft:
        als.save(als.ALS(factors, als.ALSConfig(dim=2)), draft)
        cold.save(learned, pooled, draft, "als")
    models = {name: workspace.open(name) for name in ("content", "als")}
    write_bundle(workspace, CATALOGUE, PAIRS, models)
    return checks.load(workspace.open("bundle"))


def changes(rows, gone=(), playable=None, **vectors):
    items = table(rows)
    found = {ENCODER: means(items)} if len(items) else {}
    return Changes(
        items=items,
        vectors=found,
        duration_seconds=np.full(len(items), np.nan),
        playable=np.full(len(items), -1 if playable is None else playable, np.int32),
        gone=gone,
    )


def listed(found, user, k=20):
    row = int(found.users.users.idx([user])[0])
    rows = np.array([row], np.int32)
    history, seen = found.users.histories.take(rows), found.seen.take(rows)
    [ranked] = found.recommender.recommend(history, k=k, at=0, exclude=seen)
    ids = found.vocabulary.id_of(ranked.items).to_pylist()
    return dict(zip(ids, ranked.sources, strict=True))


def test_no_changes_change_no_list(loaded):
    same = grow(loaded, changes([]))
    assert same.items.equals(loaded.items)
    for user in ("b-fan", "r-fan"):
        assert listed(same, user) == listed(loaded, user)


def test_a_new_item_is_found_by_its_words_and_by_what_was_learned_of_others(loaded):
    row = {"item_id": "a new one", "title": "slide guitar of old blues", "tags": ["b"]}
    found = grow(loaded, changes([row]))
    checks.check(found)
    sources = listed(found, "b-fan")
    assert list(sources)[:2] in (["b4", "a new one"], ["a new one", "b4"])
    assert {"content", "als", "popularity"} <= set(sources["a new one"])
    assert list(listed(found, "r-fan")).index("a new one") > 0
    similar = found.recommender.similar(int(found.vocabulary.idx(["a new one"])[0]), 3)
    assert {i[0] for i in found.vocabulary.id_of(similar.items).to_pylist()} == {"b"}


def test_a_new_item_gets_the_vector_that_the_next_training_would_give_it(loaded):
    row = {"item_id": "new", "title": "guitar engine"}
    found = grow(loaded, changes([row]))
    scale = loaded.content.scales[ENCODER]
    place = int(found.vocabulary.idx(["new"])[0])
    expected = scale.standardised(means(table([row])))[0]
    np.testing.assert_allclose(found.content.modalities[ENCODER][place], expected, atol=1e-6)
    again = scale.standardised(means(loaded.items))
    np.testing.assert_allclose(loaded.content.modalities[ENCODER], again, atol=1e-6)


def test_what_is_gone_is_in_nothing_any_more(loaded):
    found = grow(loaded, changes([], gone=["b0", "b4", "never there"]))
    checks.check(found)
    assert not {"b0", "b4"} & set(listed(found, "r-fan"))
    assert found.vocabulary.idx(["b0", "b4"]).tolist() == [-1, -1]
    user = int(found.users.users.idx(["b-fan"])[0])
    history = found.vocabulary.id_of(found.users.histories.row(user)).to_pylist()
    assert sorted(history) == ["b1", "b2", "b3", "r4"]


def test_an_item_put_again_keeps_what_was_learned_of_it(loaded):
    row = {"item_id": "b4", "title": "another title", "tags": ["x"]}
    found = grow(loaded, changes([row]))
    place = int(found.vocabulary.idx(["b4"])[0])
    assert found.items["title"][place].as_py() == "another title"
    assert found.recommender.titles[place] == "another title"
    assert "als" in listed(found, "b-fan")["b4"]
    assert len(found.vocabulary) == 10
    assert "b1" not in listed(grow(loaded, changes([{"item_id": "b1", "title": "t"}])), "b-fan")


@pytest.mark.parametrize(("playable", "there"), [(1, True), (-1, True), (0, False)])
def test_what_may_not_be_played_is_not_listed(loaded, playable, there):
    found = grow(loaded, changes([{"item_id": "new", "title": "blues"}], playable=playable))
    assert ("new" in listed(found, "b-fan")) is there


def test_an_item_of_which_nothing_is_known_is_listed_last(loaded):
    row = {"item_id": "new", "title": "?"}
    assert list(listed(grow(loaded, changes([row])), "b-fan"))[-1] == "new"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20)
@given(st.permutations(["b0", "new", "x", "b9"]), st.sets(st.sampled_from(sorted(TITLES))))
def test_the_order_of_changes_does_not_matter_and_lists_stay_sound(loaded, order, gone):
    rows = {i: {"item_id": i, "title": f"guitar {i}"} for i in order}
    gone = sorted(gone - rows.keys())
    found = grow(loaded, changes([rows[i] for i in order], gone))
    other = grow(loaded, changes([rows[i] for i in sorted(order)], gone))
    checks.check(found)
    assert found.items.equals(other.items)
    assert listed(found, "r-fan") == listed(other, "r-fan")


def test_models_without_vectors_list_what_they_know(loaded):
    class Ascending:
        name = "ascending"

        def lists(self, histories, k, exclude=None):
            free = [np.setdiff1d(np.arange(4), exclude.row(q)) for q in range(len(histories))]
            rows = [np.append(one, [-1] * k)[:k].astype(np.int32) for one in free]
            return TopK(np.stack(rows), np.zeros((len(rows), k), np.float32))

    old, new = Vocabulary.of(list("abcd")), Vocabulary.of(list("abxcd")[1:])
    lister = MovedLister("ascending", Ascending(), Move.between(old, new))
    barred = Histories.of([new.idx(["c", "x"])])
    [row] = lister.lists(Histories.of([new.idx(["x"])]), 3, barred).idx
    assert [new.ids[int(one)].as_py() if one >= 0 else None for one in row] == ["b", "d", None]


@given(st.data())
def test_an_index_that_moved_lists_as_a_scan_of_all_does(data):
    rng = np.random.default_rng(data.draw(st.integers(0, 9)))
    names = [f"{n:02}" for n in range(30)]
    old, new = (Vocabulary.of(data.draw(st.sets(st.sampled_from(names)))) for _ in range(2))
    move = Move.between(old, new)
    learned = rng.integers(-3, 4, (len(old), 3)).astype(np.float32)
    vectors = move.rows(learned, 0)
    put = data.draw(st.sets(st.integers(0, len(new) - 1))) if len(new) else set()
    rows = np.array(sorted(put | set(np.flatnonzero(move.old_of_new < 0))), np.int32)
    vectors[rows] = rng.integers(-3, 4, (len(rows), 3))
    known = vectors.any(axis=1) & (rng.random(len(new)) > 0.1)
    barred = Histories.of([np.flatnonzero(rng.random(len(new)) < 0.2).astype(np.int32)] * 4)
    queries = rng.integers(-3, 4, (4, 3)).astype(np.float32)
    expected = Scan(vectors, known).top_k(queries, 5, barred)
    found = MovedSearcher(Scan(learned), move, vectors, rows, known).top_k(queries, 5, barred)
    np.testing.assert_array_equal(found.scores, expected.scores)
    np.testing.assert_array_equal(found.idx, expected.idx)
