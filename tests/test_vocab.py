import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from avrec.vocab import Vocabulary

IDS = st.lists(st.text(max_size=6), max_size=30)


@given(ids=IDS, rng=st.randoms(use_true_random=False), cut=st.integers(0, 30))
def test_order_and_chunking_do_not_matter(ids, rng, cut):
    mixed = list(ids)
    rng.shuffle(mixed)
    chunked = pa.chunked_array([mixed[:cut], mixed[cut:]], pa.string())
    here, there = Vocabulary.of(ids), Vocabulary.of(chunked)
    assert here.ids.equals(there.ids)
    assert here.digest == there.digest
    assert len(here) == len(set(ids))


@given(ids=IDS)
def test_idx_undoes_id_of(ids):
    vocabulary = Vocabulary.of(ids)
    every = np.arange(len(vocabulary), dtype=np.int32)
    np.testing.assert_array_equal(vocabulary.idx(vocabulary.id_of(every)), every)
    assert vocabulary.id_of(vocabulary.idx(ids)).to_pylist() == ids


def test_ids_are_in_the_order_of_their_bytes():
    ids = ["ä", "z", "Z", "10", "9", "🎧", ""]
    assert Vocabulary.of(ids).ids.to_pylist() == sorted(ids, key=str.encode)


def test_unknown_and_null_ids_are_minus_one():
    vocabulary = Vocabulary.of(pa.array(["a", None, "b"]))
    assert vocabulary.ids.to_pylist() == ["a", "b"]
    np.testing.assert_array_equal(vocabulary.idx(pa.array(["b", None, "c"])), [1, -1, -1])


def test_other_ways_to_hold_text():
    column = pa.array(["b", "a", "b"])
    for kind in (pa.large_string(), pa.dictionary(pa.int32(), pa.string())):
        assert Vocabulary.of(column.cast(kind)).ids.to_pylist() == ["a", "b"]
        assert Vocabulary.of(["a", "b"]).idx(column.cast(kind)).tolist() == [1, 0, 1]


def test_digest_tells_vocabularies_apart():
    assert Vocabulary.of(["a", "b"]).digest != Vocabulary.of(["ab"]).digest
    assert Vocabulary.of([]).digest != Vocabulary.of(["a"]).digest
