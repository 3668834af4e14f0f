import numpy as np
import pytest

from avrec.arrays import unit
from avrec.embed.pool import Content
from avrec.index import top_k
from avrec.interactions import Histories
from avrec.models.content import MICROS_PER_DAY, ContentProfile
from avrec.vocab import Vocabulary

KIND = np.arange(30) % 3


@pytest.fixture
def content(rng):
    noisy = np.eye(3)[KIND] + rng.normal(0, 0.2, (30, 3))
    items = Vocabulary.of([f"{row:02}" for row in range(30)])
    return Content(items, {"sound@1": unit(noisy.astype(np.float32))})


def test_finds_the_kind_of_a_new_clip(content):
    model = ContentProfile(content)
    alone = Histories.of([np.array([item]) for item in range(30)])
    found = top_k(model.user_vectors(alone), model.items.vectors, 5, exclude=alone)
    assert (KIND[found.idx] == KIND[:, None]).mean() > 0.95


def test_what_is_recent_and_heavy_counts_more(content):
    offsets, items = np.array([0, 2]), np.array([0, 1], np.int32)
    model = ContentProfile(content, half_life_days=10)

    def profile(weights, days):
        at = np.array(days) * MICROS_PER_DAY
        histories = Histories(offsets, items, np.array(weights, np.float32), at)
        return model.user_vectors(histories)[0]

    vectors = model.items.vectors
    expected = unit((vectors[0] * 3 / 4 + vectors[1])[None])[0]
    np.testing.assert_allclose(profile([3, 1], [0, 20]), expected, rtol=1e-5)


def test_without_history_or_content_there_is_no_profile(content):
    content.modalities["sound@1"][4] = 0
    histories = Histories.of([[], np.array([4])])
    assert not ContentProfile(content).user_vectors(histories).any()
