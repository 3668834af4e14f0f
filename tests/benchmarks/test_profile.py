import argparse
import gzip
from dataclasses import replace

import pytest

from jobs import benchmark_towers_profile as profile


@pytest.fixture
def arguments(tmp_path, rng):
    """Eighty people, of whom men see even films and women odd ones; files as the sets have them."""
    movies, ratings = tmp_path / profile.MOVIES, tmp_path / profile.RATINGS
    movies.mkdir()
    ratings.mkdir()
    seen = {user: rng.permutation(range(user % 2, 40, 2))[:8] for user in range(80)}
    with gzip.open(movies / "interactions.csv.gz", "wt") as file:
        file.write("user_id,movie_id,order\n")
        file.writelines(f"{u},{i},{n}\n" for u in seen for n, i in enumerate(seen[u]))
    with gzip.open(movies / "users.dat.gz", "wt") as file:
        file.writelines(f"{u}::{'MF'[u % 2]}::{25 + u % 3}::7::{u}\n" for u in seen)
    with gzip.open(ratings / "ml-100k.inter.gz", "wt") as file:
        file.write("user_id\titem_id\trating\ttimestamp\n")
        file.writelines(
            f"{u}\t{i}\t3\t{86_400 * n + 1}\n" for u in seen for n, i in enumerate(seen[u])
        )
    with gzip.open(ratings / "ml-100k.user.gz", "wt") as file:
        file.write("user_id\tage\tgender\toccupation\tzip_code\n")
        file.writelines(f"{u}\t{20 + u}\t{'MF'[u % 2]}\tother\t{u}\n" for u in seen)
    return argparse.Namespace(data=tmp_path, threads=1, seeds=[0], epochs=None)


def test_who_is_new_gains_by_a_profile_and_not_by_one_dealt_at_random(
    arguments, monkeypatch, capsys
):
    config = replace(
        profile.CONFIG, dim=16, history_length=8, batch_size=16, learning_rate=0.01,
        validation_users=20,
    )  # fmt: skip
    monkeypatch.setattr(profile, "CONFIG", config)
    monkeypatch.setattr(profile, "TOLD", (0, 1))
    found = {line["figure"]: line for line in profile.run(arguments)}
    assert "profile, seed 0: epoch" in capsys.readouterr().out
    new = f"{profile.MOVIES}, 16 people not trained on, 0 events told, ndcg@20, profile over"
    assert found[f"{new} none"]["met"]
    assert found[f"{new} profile dealt at random"]["value"] > 0.1
    last = [name for name in found if name.startswith(f"{profile.RATINGS}, last item of 80 people")]
    assert len(last) == 4
    assert sum("none over none, places from the end" in name for name in found) == 2


def test_first_events_are_told_and_the_next_asked(arguments):
    given = profile.movies(arguments.data / profile.MOVIES)
    past, relevant = profile.newcomers(given, [3, 5], 2)
    assert past.lengths().tolist() == [2, 2]
    assert relevant.lengths().tolist() == [6, 6]
    assert past.profile["sex"].tolist() == ["F", "F"]
    assert past.row(1).tolist() + relevant.row(1).tolist() == given.people.row(5).tolist()


def test_an_absent_set_is_said(tmp_path, capsys):
    assert profile.run(argparse.Namespace(data=tmp_path, threads=1)) == []
    assert capsys.readouterr().out.count("SKIPPED") == 2
