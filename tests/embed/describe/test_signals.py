"""Sounds and safety, with the real weights of the shared folder unless random is said."""

import numpy as np
import pyarrow as pa
import pytest
import torch
from safetensors.numpy import load_file

from avrec.embed.describe.config import DescribeConfig, SafetyConfig, SoundsConfig, SpeechConfig
from avrec.embed.describe.describer import found, key
from avrec.embed.describe.loading import load_describers
from avrec.embed.describe.music import is_music
from avrec.embed.describe.safety import flags
from avrec.embed.frame_classifiers import FrameClassifier
from avrec.embed.source import Source
from avrec.errors import InputError
from avrec.media.decode import decode
from avrec.media.sampling import Plan
from avrec.schema import SEGMENT_LABELS
from tests.embed import models


@pytest.fixture(scope="module")
def sounds(shared):
    config = DescribeConfig(sounds=SoundsConfig(model=str(shared("models/yamnet"))))
    (made,) = load_describers(config)
    return made


@pytest.fixture(scope="module")
def safety(shared):
    config = DescribeConfig(safety=SafetyConfig(model=str(shared("models/nsfw-mobilenet-v2"))))
    (made,) = load_describers(config)
    return made


@pytest.mark.slow
def test_sounds_are_named_and_music_told_apart(sounds, shared):
    expected = {
        "env/librosa/456440__inspectorj__bird-whistling-robin-single-13.ogg": "Bird",
        "speech/asterisk_en/agent-user.wav": "Speech",
        "music/lordsawar/battle.ogg": "Music",
    }
    for name, label in expected.items():
        table = sounds.describe(decode(shared(f"media/{name}"), Plan(max_seconds=10)))
        assert table.schema == found(SEGMENT_LABELS)
        kinds = {row["label"]: row["kind"] for row in table.to_pylist()}
        assert kinds[label] == ("music" if label == "Music" else "sound_event")


@pytest.mark.slow
def test_a_film_is_neutral_and_its_scores_are_shares(safety, shared):
    clip = decode(shared("media/video/skv_bikes.mp4"), Plan())
    table = safety.describe(clip)
    rows = table.to_pylist()
    assert len(rows) == len(clip.spans) * 5 * 2
    means = {row["label"]: row["score"] for row in rows if row["kind"] == "safety_mean"}
    assert sum(means.values()) == pytest.approx(1, abs=1e-5)
    assert max(means, key=means.get) == "neutral"


@pytest.mark.slow
def test_sound_alone_has_no_safety_scores_and_a_picture_alone_no_tags(safety, sounds, shared):
    heard = decode(shared("media/speech/asterisk_en/agent-user.wav"), Plan())
    seen = decode(shared("media/video/skv_bikes.mp4"), Plan())
    assert safety.describe(heard).num_rows == 0
    if not len(seen.waveform):
        assert sounds.describe(seen).num_rows == 0


@pytest.mark.slow
def test_genres_are_told_of_music_alone(sounds, shared):
    kinds = {}
    for name in ("music/mdn/viper.mp3", "speech/asterisk_en/agent-user.wav"):
        clip = decode(shared(f"media/{name}"), Plan(max_seconds=10))
        rows = sounds.describe(clip).to_pylist()
        kinds[name] = {row["label"]: row["score"] for row in rows if row["kind"] == "music"}
    rock, speech = kinds.values()
    assert rock["Music"] > rock["Rock music"] >= sounds.config.genre_threshold
    assert not speech


def test_instruments_are_events_and_genres_and_moods_are_music():
    labels = ["Speech", "Music", "Drum", "Pop music", "Jazz", "Scary music", "Wind"]
    assert is_music(labels) == [False, True, False, True, True, True, False]
    assert is_music(["dog", "background music"]) == [False, True]


def test_a_head_of_dense_layers_is_run_with_relu_between_them(tmp_path, rng):
    folder = models.make(models.dense_head, tmp_path / "random")
    classifier = FrameClassifier(Source(str(folder), "", 3, "cpu"))
    frames = rng.integers(0, 256, (3, 40, 40, 3), np.uint8)
    with torch.inference_mode():
        pooled = classifier.model(pixel_values=classifier.prepare([*frames])).pooler_output.numpy()
    weights = load_file(folder / "model.safetensors")
    hidden = np.maximum(0, pooled @ weights["classifier.0.weight"].T + weights["classifier.0.bias"])
    logits = hidden @ weights["classifier.2.weight"].T + weights["classifier.2.bias"]
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(classifier.probabilities(frames), shares, atol=1e-4)
    assert classifier.labels == ["Neutral", "Porn", "Drawing"]
    assert classifier.probabilities(frames[:0]).shape == (0, 3)


def test_flags_are_raised_where_any_segment_reaches_its_threshold():
    scores = {"a": [0.1, 0.8], "b": [0.2, 0.3]}
    rows = [
        {"item_id": item, "label": "porn", "score": score, "kind": "safety_mean", "producer": "m@1"}
        | {"start_seconds": 0.0, "stop_seconds": 1.0}
        for item, values in scores.items()
        for score in values
    ]
    table = pa.Table.from_pylist(rows, schema=SEGMENT_LABELS)
    assert flags(table, {"porn": 0.5}) == {"a": ["porn"], "b": []}
    assert flags(table, {"porn": 0.25}) == {"a": ["porn"], "b": ["porn"]}
    assert flags(table, {"sexy": 0.1}) == {"a": [], "b": []}


@pytest.mark.slow
def test_a_threshold_for_no_class_is_said_so(shared):
    config = SafetyConfig(model=str(shared("models/nsfw-mobilenet-v2")), thresholds={"prn": 0.5})
    with pytest.raises(
        InputError, match=r"describe\.safety: thresholds must be of .* got \['prn'\]"
    ):
        load_describers(DescribeConfig(safety=config))


def test_no_model_no_describer_and_an_absent_one_is_said_so(tmp_path):
    assert load_describers(DescribeConfig()) == []
    with pytest.raises(InputError, match=r"for describe\.speech"):
        load_describers(DescribeConfig(speech=SpeechConfig(model=str(tmp_path))))


@pytest.mark.slow
def test_keys_name_model_weights_and_settings(sounds, safety):
    assert key(sounds).startswith("yamnet@")
    assert key(safety).startswith("nsfw-mobilenet-v2@")
