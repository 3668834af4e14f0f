import gzip
import json

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from avrec.evaluate import among_negatives
from avrec.factors import Factors
from avrec.metrics import hit_rate
from avrec.models.svd import SVD, SVDConfig, fit
from jobs import benchmark_als_quality as quality
from jobs import benchmark_sets as sets


@pytest.fixture(autouse=True)
def one_blas_thread():
    """As implicit wants it, and says in a warning otherwise."""
    with threadpool_limits(1, "blas"):
        yield


@pytest.fixture
def write(tmp_path):
    def one(name, *lines):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        with gzip.open(tmp_path / name, "wt") as file:
            file.write("\n".join(lines))
        return (tmp_path / name).parent

    return one


def told_and_asked(task):
    return [
        [rows.row(user).tolist() for user in range(len(task.rows))]
        for rows in (task.case.histories, task.case.relevant)
    ]


def test_the_last_item_is_asked_and_the_one_before_chooses(write):
    folder = write("ml-1m.txt.gz", "1 3", "1 1", "2 2", "1 2", "2 3", "1 4", "2 1")
    asked = sets.last_items(folder)
    assert told_and_asked(asked.test) == [[[0, 1, 2], [1, 2]], [[3], [0]]]
    assert told_and_asked(asked.validation) == [[[0, 2], [1]], [[1], [2]]]
    assert asked.validation.weights.sum() == 3


def test_listening_is_cut_in_three_without_overlap(write):
    pairs = [f"{user}\t{artist}\t{user * artist + 1}" for user in range(40) for artist in range(30)]
    folder = write("user_artists.dat.gz", "userID\tartistID\tweight", *pairs)
    asked, again, other = (sets.listening(folder, seed) for seed in (0, 0, 1))
    assert (asked.test.weights != again.test.weights).nnz == 0
    assert (asked.test.weights != other.test.weights).nnz > 0
    held = asked.test.case.relevant.offsets[-1]
    chosen = asked.validation.case.relevant.offsets[-1]
    assert asked.test.weights.nnz + held == 1200
    assert asked.validation.weights.nnz + chosen == asked.test.weights.nnz
    assert 180 < held < 300
    assert 60 < chosen < 140
    cells = asked.test.weights.tocoo()
    user, item = cells.coords
    assert (cells.data == user * item + 1).all()


def test_weights_are_turned_in_what_is_learned_and_in_what_is_known(write):
    folder = write("user_artists.dat.gz", "u\ta\tw", *(f"{n % 5}\t{n % 7}\t9" for n in range(35)))
    task = sets.listening(folder, 0).test
    for how, value in (("binary", 1), ("log", 1 + np.log(9)), ("raw", 9)):
        turned = quality.weighted(task, how)
        assert np.unique(turned.weights.data) == pytest.approx(value)
        assert np.unique(turned.case.histories.weights) == pytest.approx(value)


def test_negatives_belong_to_their_user(write):
    write("train.tsv.gz", "0\t0", "0\t1", "1\t2", "1\t3")
    write("ml-1m.test.rating.gz", "0\t2\t5\t1", "1\t0\t5\t1")
    folder = write("ml-1m.test.negative.gz", "(0,2)\t3\t4", "(1,0)\t1\t4")
    given = sets.ncf(folder)
    assert given.weights.toarray().tolist() == [[1, 1, 0, 0, 0], [0, 0, 1, 1, 0]]
    assert given.held_out.tolist() == [2, 0]
    assert given.negatives.tolist() == [[3, 4], [1, 4]]
    vectors = fit(given.weights, SVDConfig(dim=2), rng=np.random.default_rng(0))
    model = SVD(Factors(sets.vocabulary("i", 5), vectors), SVDConfig(dim=2))
    known = sets.histories_of(given.weights)
    hits = among_negatives(model, known, given.held_out, given.negatives)
    assert hit_rate(hits, np.ones(2, np.int64), 3).tolist() == [1, 1]


def test_every_model_is_chosen_and_reported(write, capsys, rng, monkeypatch):
    small = [
        m._replace(space=m.space | {key: (4,) for key in m.space if key in ("dim", "factors")})
        for m in quality.METHODS
    ]
    monkeypatch.setattr(quality, "METHODS", small)
    lines = [
        f"{u + 1} {i + 1}" for u in range(30) for i in rng.permutation(np.arange(u % 2, 20, 2))
    ]
    quality.compare(sets.last_items(write("ml-1m.txt.gz", *lines)), 2)
    out = capsys.readouterr().out
    assert out.count("chosen: ") == 3
    figures = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
    assert [figure["figure"].split(",")[1] for figure in figures] == [" ndcg@10", " recall@20"]
    assert figures[1]["value"] == figures[1]["goal"] == 1
    assert figures[1]["met"] is True


def test_an_absent_set_is_said(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["quality", "--data", str(tmp_path)])
    quality.main()
    assert capsys.readouterr().out.count("SKIPPED: there is no ") == 3
