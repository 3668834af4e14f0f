import dataclasses
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from avrec.embed.pool import Content
from avrec.interactions import Histories
from avrec.models.features import DAY, DENSE, FIELDS, HOUR, featurize, knowledge
from avrec.schema import INTERACTIONS, ITEMS, MEDIA, conform
from avrec.vocab import Vocabulary

NOON = datetime(2026, 3, 2, 12, 30, tzinfo=UTC)  # a Monday
AT = int(NOON.timestamp()) * 1_000_000
VECTORS = np.array([[1, 0], [0.6, 0.8], [0, 1], [0, 0]], np.float32)


@pytest.fixture(scope="module")
def known():
    items = pa.table(
        {
            "item_id": ["d", "a", "b", "c"],
            "title": list("DABC"),
            "tags": [None, ["jazz", "live"], ["jazz"], [None, "talk"]],
            "creator_id": [None, "ann", "ann", "bob"],
            "language": [None, "en", "en", "de"],
            "published_at": [None, AT - 3 * DAY, AT + DAY, AT],
        }
    )
    interactions = pa.table(
        {"user_id": list("uvw"), "item_id": list("aab"), "weight": [1.0] * 3, "at": [AT] * 3}
    )
    content = Content(Vocabulary.of(list("abcd")), {"planted@1": VECTORS})
    files = pa.table(
        {
            "item_id": list("acdd"),
            "uri": list("wxyz"),
            "duration_seconds": [60.0, 1, 1, None],
            "error": [None, "truncated: no index", None, "timeout: 60 s"],
        }
    )
    media = conform(files, MEDIA)
    return knowledge(conform(items, ITEMS), conform(interactions, INTERACTIONS), content, media)


def test_playable_is_what_has_a_good_file_or_none(known):
    assert known.playable.tolist() == [True, True, False, True]


def described(known, history, item, at=AT, **scores):
    """One candidate's features, by name."""
    histories = Histories(
        np.array([0, len(history)]),
        np.array(history, np.int32),
        np.ones(len(history), np.float32),
        np.array([AT - 5 * HOUR] * len(history)),
    )
    scores = {name: np.array([value], np.float32) for name, value in scores.items()}
    rows = np.zeros(1, np.int32), np.array([item], np.int32)
    features = featurize(histories, *rows, scores, known, np.array([at]))
    named = dict(zip(DENSE, features.dense[0].tolist(), strict=True))
    return named | dict(zip(FIELDS, features.fields[0].tolist(), strict=True))


def test_a_candidate_is_described_by_what_it_shares_with_the_history(known):
    found = described(known, [0, 2], 1, als=0.5, towers=-0.25)
    assert found["score_als"] == 0.5
    assert found["score_towers"] == -0.25
    assert found["score_content"] == 0
    assert found["content_last"] == pytest.approx(0.8)
    assert found["content_history"] == pytest.approx(1.4 / 2**0.5)
    assert found["creator_overlap"] == 0.5
    assert found["language_overlap"] == 0.5
    assert found["tag_overlap"] == 0.5
    assert found["log_history_length"] == pytest.approx(np.log(3))
    assert found["log_hours_since_last"] == pytest.approx(np.log(6))
    assert found["favourite_tag"] == found["tag"]
    assert (found["hour"], found["weekday"]) == (12, 0)


def test_age_is_counted_to_the_request_and_never_negative(known):
    assert described(known, [], 0)["log_age_days"] == pytest.approx(np.log(4))
    assert described(known, [], 1)["log_age_days"] == 0
    assert described(known, [], 1)["age_known"] == 1


def test_unknowns_have_their_stated_answers(known):
    found = described(known, [], 3)
    zeros = set(DENSE) - {"never_seen", "log_popularity", "log_duration_seconds", "duration_known"}
    assert {name for name in zeros if found[name]} == set()
    assert found["never_seen"] == 1
    assert (found["creator"], found["tag"], found["favourite_tag"], found["age"]) == (0, 0, 0, 0)
    assert described(known, [], 1)["duration_known"] == 0


def test_popularity_is_relative_to_an_even_share(known):
    shares = np.array([3, 2, 1, 1]) / 7
    found = [described(known, [], item)["log_popularity"] for item in range(4)]
    np.testing.assert_allclose(found, np.log(shares * 4), rtol=1e-6)


@given(st.data())
def test_neighbours_do_not_change_a_candidate(known, data):
    rows = data.draw(st.lists(st.lists(st.integers(0, 3), max_size=4), min_size=1, max_size=4))
    pairs = st.tuples(st.integers(0, len(rows) - 1), st.integers(0, 3))
    query, item = np.array(data.draw(st.lists(pairs, min_size=1, max_size=9)), np.int32).T
    histories = Histories.of([np.array(row, np.int32) for row in rows])
    at = np.full(len(query), AT)
    together = featurize(histories, query, item, {}, known, at)
    assert np.isfinite(together.dense).all()
    sizes = np.array(list(FIELDS.values()))
    assert ((together.fields >= 0) & (together.fields < sizes)).all()
    for place in range(len(query)):
        one = slice(place, place + 1)
        alone = featurize(
            histories.take(query[one]), np.zeros(1, np.int32), item[one], {}, known, at[one]
        )
        np.testing.assert_allclose(alone.dense[0], together.dense[place], atol=1e-6)
        np.testing.assert_array_equal(alone.fields[0], together.fields[place])


def test_no_candidates_give_no_rows(known):
    nothing = np.zeros(0, np.int32)
    empty = featurize(Histories.of([]), nothing, nothing, {}, known, np.zeros(0, np.int64))
    assert empty.dense.shape == (0, len(DENSE))


def test_an_empty_catalogue_is_known():
    assert not len(knowledge(ITEMS.empty_table(), INTERACTIONS.empty_table()).counts)


def test_renaming_codes_does_not_move_hashed_fields(known):
    """A new creator shifts the codes of the others, and not the rows of their embeddings."""
    wider = dataclasses.replace(known.creators, codes=known.creators.codes + 1)
    wider = dataclasses.replace(wider, hashes=np.concatenate([[9], known.creators.hashes]))
    again = dataclasses.replace(known, creators=wider)
    assert described(again, [0], 1) == described(known, [0], 1)
