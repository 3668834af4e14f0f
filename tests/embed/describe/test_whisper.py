"""Whisper of two languages with random weights: what it says means nothing, but how it is run."""

import numpy as np
import pytest

from avrec.embed.describe.config import DescribeConfig, SpeechConfig
from avrec.embed.describe.loading import load_describers
from avrec.errors import InputError
from tests.embed import models


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("whisper") / "tiny"
    return str(models.make(models.whisper_of_two_languages, made))


def whisper_of(folder, **fields):
    config = SpeechConfig(**{"model": folder, "temperatures": (0.0, 1.0)} | fields)
    (speech,) = load_describers(DescribeConfig(speech=config))
    return speech.whisper


def sounds(*seconds):
    rng = np.random.default_rng(2)
    return [rng.normal(0, 0.1, round(n * 16_000)).astype(np.float32) for n in seconds]


@pytest.mark.slow
def test_a_window_is_heard_the_same_beside_any_others(folder):
    windows = sounds(1, 30, 4, 0.2)
    heard = whisper_of(folder, batch_size=4).transcribe(windows)
    one_by_one = whisper_of(folder, batch_size=1)
    assert heard == [one_by_one.transcribe([window])[0] for window in windows]
    assert any(heard)


@pytest.mark.slow
def test_what_is_said_lies_within_the_window_and_in_order(folder):
    windows = sounds(0.5, 3, 12)
    for window, said in zip(windows, whisper_of(folder).transcribe(windows), strict=True):
        starts = [one.start_seconds for one in said]
        assert starts == sorted(starts)
        assert all(
            0 <= one.start_seconds <= one.stop_seconds <= len(window) / 16_000 for one in said
        )


@pytest.mark.slow
def test_the_language_is_the_one_asked_for_or_one_that_it_knows(folder):
    windows = sounds(2, 3)
    told = whisper_of(folder, language="de").transcribe(windows)
    assert {one.language for said in told for one in said} == {"de"}
    guessed = whisper_of(folder).transcribe(windows)
    assert {one.language for said in guessed for one in said} <= {"en", "de"}
    with pytest.raises(InputError, match=r"language must be one of \['de', 'en'\], got 'xx'"):
        whisper_of(folder, language="xx")


def test_a_text_that_repeats_itself_is_dropped(folder):
    windows = sounds(2)
    assert whisper_of(folder, max_compression=0.01).transcribe(windows) == [[]]


def test_a_doubted_text_over_what_is_hardly_speech_is_dropped(folder):
    sure = whisper_of(folder, min_logprob=0.0, max_no_speech=0.0).transcribe(sounds(2))
    assert sure == [[]]


def test_chances_of_texts_are_probabilities(folder):
    whisper = whisper_of(folder)
    (window,) = sounds(1)
    texts = ["red", "blue", "red song"]
    chances = whisper.chances(window, texts)
    assert chances.shape == (3,)
    assert (chances >= 0).all()
    assert chances.sum() <= 1
    np.testing.assert_allclose(whisper.chances(window, texts[::-1])[::-1], chances, rtol=1e-4)
