import gzip
import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from avrec.embed.pool import Content
from avrec.factors import Factors
from avrec.models import als
from avrec.models.als import ALS, ALSConfig
from avrec.splits import ItemSplit
from jobs import benchmark_cold_models as models
from jobs import benchmark_cold_sets as sets
from jobs import benchmark_dropoutnet as dropoutnet
from jobs.benchmark_towers_cold import of_hybrid, of_map
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
    mapped = of_map(given, model, ({}, (0.0, 1.0)))
    rows = given.content.joined()
    setting = dropoutnet.Setting(0.5, 32, 30)
    *_, (_, net) = dropoutnet.fit(model, given.trained, rows, given.past, setting)
    chance = models.judged(models.Chance(cold.able), cold)["recall"]
    for other in (mapped, of_hybrid(given, mapped, 1.0), net, models.Nearest(given.content, 4.0)):
        assert models.judged(other, cold)["recall"] > 2 * chance


def test_warm_items_are_listed_as_before(known):
    given, model, _ = known
    mapped = of_map(given, model, ({}, (0.0, 1.0)))
    hybrid = of_hybrid(given, mapped, 1.0)
    before = model.user_vectors(given.past) @ model.items.vectors[given.trained].T
    after = hybrid.user_vectors(given.past) @ hybrid.items.vectors[given.trained].T
    np.testing.assert_allclose(after, before, atol=1e-5)


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
