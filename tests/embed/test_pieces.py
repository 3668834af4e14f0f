import numpy as np
import pyarrow as pa
import pytest

from avrec.arrays import unit
from avrec.embed import pool
from avrec.embed.pieces import pieces
from avrec.embed.pool import Content
from avrec.errors import ArtifactError
from avrec.schema import EMBEDDINGS
from avrec.vocab import Vocabulary

ITEMS = Vocabulary.of(["a", "b", "c"])


def segments(rng, num_items=3, count=200):
    rows = [
        {"item_id": f"{'abc'[n % num_items]}", "encoder": "look@1", "start_seconds": 0.5 * n,
         "stop_seconds": 0.5 * n + 1, "vector": rng.normal(size=4).tolist()}
        for n in range(count)
    ]  # fmt: skip
    rows.append({**rows[0], "item_id": "gone"})
    return pa.Table.from_pylist(rows, schema=EMBEDDINGS)


def test_one_piece_is_the_content(rng):
    table = segments(rng, num_items=2)
    content = pool.pool(table, ITEMS)
    found = pieces([table[:50], table[50:]], content, num_pieces=1)
    np.testing.assert_allclose(
        found["look@1"][:, 0], content.modalities["look@1"], rtol=1e-5, atol=1e-6
    )


def test_pieces_are_apart_and_make_up_the_whole(rng):
    table = segments(rng)
    content = pool.pool(table, ITEMS)
    found = pieces([table], content, num_pieces=4)["look@1"]
    assert found.shape == (3, 4, 4)
    assert found.any(axis=2).all()
    assert np.abs(found[:, 0] - found[:, 1]).max() > 0.1
    again = pieces([table.slice(80), table[:80]], content, num_pieces=4)["look@1"]
    np.testing.assert_allclose(again, found, atol=1e-5)


def test_a_short_item_lacks_pieces(rng):
    table = segments(rng, count=3)
    found = pieces([table], pool.pool(table, ITEMS), num_pieces=4)["look@1"]
    assert found.any(axis=2).sum(axis=1).tolist() == [1, 1, 1]


def test_content_that_does_not_say_its_scale_is_refused(rng):
    bare = Content(ITEMS, {"look@1": unit(np.ones((3, 4), np.float32))})
    with pytest.raises(ArtifactError, match="embed again"):
        pieces([segments(rng)], bare, num_pieces=2)
