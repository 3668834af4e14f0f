import argparse
import gzip
import json

import numpy as np
import pytest
from safetensors.numpy import save_file
from scipy.sparse import csr_array

from avrec.embed.pool import Content
from avrec.factors import Factors, among
from avrec.index import as_lister
from avrec.interactions import Histories
from avrec.models import als
from avrec.models.als import ALS, ALSConfig
from avrec.splits import ItemSplit
from jobs import benchmark_cold_models as models
from jobs import benchmark_cold_sets as sets
from jobs import benchmark_dropoutnet as dropoutnet
from jobs.benchmark_cold_fused import Fused, Part, by_walks
from jobs.benchmark_towers_cold import Clips as ClipsSetting
from jobs.benchmark_towers_cold import Map, Near, clips, of_clips, of_fused, of_mapped, of_nearest
from tests.models.worlds import tastes


def write(path, text, encoding="utf-8"):
    with gzip.open(path, "wt", encoding=encoding) as file:
        file.write(text)


@pytest.fixture
def films(tmp_path):
    """Forty films; of the first one much is told, of the others a title and a genre."""
    numbers = range(1, 41)
    lines = [f"{n}::Café {n} (19{n + 50})::{'Drama' if n % 2 else 'War|Drama'}" for n in numbers]
    write(tmp_path / "movies.dat.gz", "\n".join(lines), "latin-1")
    facts = {"Plot": "A tale.", "Actors": "Ann One, Bo Two", "Director": "Cy Three (co-director)"}
    facts |= {"Writer": "N/A", "Runtime": "90 min", "imdbVotes": "99"}
    rows = [{"movie_id": n, "omdb": facts if n == 1 else None} for n in numbers]
    write(tmp_path / "omdb.jsonl.gz", "\n".join(json.dumps(row) for row in rows))
    pairs = [f"{u},{n},{n * 7 % 40}" for u in range(1, 21) for n in numbers if (u + n) % 3]
    write(tmp_path / "interactions.csv.gz", "\n".join(["user_id,movie_id,order", *pairs]))
    vectors = np.random.default_rng(0).normal(size=(40, 8)).astype(np.float32)
    save_file({sets.TEXT: vectors}, tmp_path / f"{sets.MOVIES}-text.safetensors")
    return sets.movies(tmp_path, tmp_path)


def test_items_are_hidden_wholly_and_apart_for_validation_and_test(films):
    def of(table):
        return set(table["item_id"].to_pylist())

    for split in (films.validation, films.test):
        assert not of(split.cold) & (of(split.train) | of(split.warm))
    assert of(films.test.cold)
    assert of(films.validation.cold)
    chosen_on = [films.validation.train, films.validation.warm, films.validation.cold]
    assert not of(films.test.cold) & set.union(*map(of, chosen_on))


def test_fields_tell_what_items_share_and_votes_are_none(films):
    modalities = films.content.modalities
    told = {name: int(rows.any(axis=1).sum()) for name, rows in modalities.items()}
    assert told == {
        sets.TEXT: 40,
        "genres": 40,
        "year": 40,
        "cast": 1,
        "directors": 1,
        "studios": 0,
        "title": 40,
        "minutes": 1,
        "places": 0,
        "rated": 0,
    }
    alike = modalities["genres"] @ modalities["genres"].T
    assert alike[0, 2] == pytest.approx(1)
    assert alike[0, 1] < 0.5


MAP = Map({}, 0.0, 1.0)


def planted():
    """Three tastes; the last items are cold, and asked of all who like their kind."""
    world = tastes(num_users=90, num_items=60, num_cold=0, length=12)
    past = world.histories
    user, item = past.query_of_item(), past.items
    ids = world.content.items.id_of(item).to_pylist()
    late = item >= 48
    told, asked = (
        sets.interactions(user[part], [ids[n] for n in np.flatnonzero(part)], past.at[part])
        for part in (~late, late)
    )
    split = ItemSplit(told, told.slice(0, 0), asked)
    [rows] = world.content.modalities.values()
    content = Content(world.content.items, {sets.TEXT: rows})
    return models.world(split, content), world.kind_of_item


@pytest.fixture(scope="module")
def known():
    given, kind = planted()
    config = ALSConfig(dim=8)
    vectors = als.fit(given.weights, config, rng=np.random.default_rng(0))
    return given, ALS(Factors(given.content.items, vectors), config), kind


def test_every_model_beats_chance_on_cold_items(known, monkeypatch):
    monkeypatch.setattr(models, "K", 3)
    given, model, _ = known
    cold = given.cases["cold"]
    rows = given.content.joined()
    setting = dropoutnet.Setting(0.5, 32, 30)
    *_, (_, net) = dropoutnet.fit(model, given.trained, rows, given.past, setting)
    others = [
        of_mapped(given, model, MAP),
        of_fused(given, model, MAP)((0.2, 0.2)),
        net,
        of_nearest(given.content, Near((), {}, 4.0)),
        of_nearest(given.content, Near((sets.TEXT,), {}, 0.0)),
    ]
    chance = models.judged(models.Chance(cold.able), cold)["recall"]
    for other in others:
        assert models.judged(other, cold)["recall"] > 2 * chance


def test_warm_items_are_listed_as_before(known):
    given, model, _ = known
    fused, cold = of_fused(given, model, MAP)((0.2, 0.2)), ~given.trained
    before = as_lister(among(model, given.trained)).lists(given.past, 5)
    after = fused.among(given.trained).lists(given.past, 5)
    np.testing.assert_array_equal(after.idx, before.idx)
    assert cold.any()


def test_a_cold_item_is_as_popular_as_those_alike(known):
    given, _, kind = known
    counts = np.bincount(given.past.items, minlength=60)
    told = models.popular_alike(given).vectors[:, 0]
    np.testing.assert_array_equal(told[given.trained], counts[given.trained])
    for item in np.flatnonzero(~given.trained):
        mine = counts[given.trained & (kind == kind[item])]
        assert mine.min() < told[item] < mine.max()


def test_some_users_are_judged_for_all(known):
    given, _, _ = known
    few = models.some_of(given, 7)
    assert len(few.cases["cold"].case.users) == 7


def test_clips_are_listed_for_their_fans_whether_warm_or_cold(known, monkeypatch):
    monkeypatch.setattr(models, "K", 3)
    given, model, _ = known
    [rows] = given.content.modalities.values()
    seen = Content(given.content.items, {"audio": rows, "image": rows})
    model = of_clips(given._replace(content=seen), model, ClipsSetting(0.3, 0.3, 6.0, 0.2, 1.0))
    chance = models.judged(models.Chance(given.cases["cold"].able), given.cases["cold"])
    assert models.judged(model, given.cases["cold"])["recall"] > 2 * chance["recall"]
    warm = given._replace(content=seen).cases["overall"]
    assert not set(model.lists(warm.case.histories, 3).idx.ravel().tolist()) <= {-1}


@pytest.fixture
def few_clips(tmp_path, rng, monkeypatch):
    """Two kinds of 40 clips each, of which the last two are in no history; what is seen tells."""
    monkeypatch.setattr(sets, "NUM_CLIPS", 80)
    folder = tmp_path / sets.CLIPS
    folder.mkdir()
    kind = np.arange(80) % 2
    for name in ("image", "audio"):
        seen = np.eye(2)[kind] + rng.normal(0, 0.1, (80, 2))
        np.save(folder / f"{name}_feat.npy", seen.astype(np.float16))
    parts = {"train": [], "valid": [], "test": []}
    for user in range(60):
        mine = rng.permutation(np.arange(user % 2, 76, 2))[:8]
        parts["train"] += [(user, item) for item in mine[:6]]
        parts["valid"] += [(user, mine[6]), (user, 76 + user % 2)]
        parts["test"] += [(user, mine[7]), (user, 78 + user % 2)]
    for name, pairs in parts.items():
        write(folder / f"{name}.tsv.gz", "\n".join(f"{user}\t{item}" for user, item in pairs))
    return tmp_path


def test_clips_are_compared_from_files_to_figures(few_clips, monkeypatch):
    monkeypatch.setattr("jobs.benchmark_towers_cold.CLIPS", [ClipsSetting(0.3, 0.3, 6.0, 0.2, 1.0)])
    lines = clips(argparse.Namespace(data=few_clips))
    assert [line["figure"] for line in lines] == [
        f"{sets.CLIPS}, {what}{metric}@20"
        for what in ("", "cold items, ")
        for metric in ("recall", "ndcg")
    ]
    assert lines[0]["value"] * lines[0]["peer"] > 0.5


def test_walks_reach_what_those_who_took_to_an_item_took_to():
    """Two users share item 1; from item 0 a walk goes on to 0, 1 by the first, never to 2."""
    weights = csr_array(np.array([[1, 1, 0], [0, 1, 1]], np.float32))
    [scores] = by_walks(weights, 1.0)(Histories.of([np.array([0], np.int32)]))
    np.testing.assert_allclose(scores, [0.5, 0.5, 0])


def test_parts_say_as_much_as_they_weigh_whatever_their_scale():
    one = Histories.of([np.array([0], np.int32)])
    small = Part(lambda _: np.array([[0.0, 1, 2]], np.float32), np.full(3, 2, np.float32))
    large = Part(lambda _: np.array([[2000.0, 1000, 0]], np.float32), np.ones(3, np.float32))
    able = np.array([True, True, False])
    fused = Fused("both", [small, large], able)
    assert fused.lists(one, 3).idx.tolist() == [[1, 0, -1]]
    assert fused.among(~able).lists(one, 1).idx.tolist() == [[2]]
