"""With the real Whisper of the shared folder; the rules for its tokens without."""

import math

import numpy as np
import pytest
import torch

from avrec.embed.describe.config import SpeechConfig
from avrec.embed.describe.describer import found
from avrec.embed.describe.speech import Speech
from avrec.embed.describe.whisper_tokens import NEVER, Alphabet
from avrec.media.decode import Clip, decode
from avrec.media.sampling import Plan
from avrec.schema import TRANSCRIPTS

ALPHABET = Alphabet(
    start=8,
    end=7,
    no_speech=9,
    first_time=10,
    suppressed=[6],
    suppressed_first=[5],
    languages={"en": 8, "de": 9},
    transcribe=4,
)
"""Text is 0 to 6, times are 10 to 99: 0.0 to 1.78 s."""


def allowed(tokens):
    logs = ALPHABET.allow(torch.zeros(100), tokens)
    return {token for token in range(100) if logs[token] > NEVER}


def test_a_window_begins_with_a_time_within_its_first_second():
    assert allowed([]) == set(range(10, 61))


def test_times_come_in_pairs_and_never_go_back():
    assert allowed([12]).isdisjoint(range(10, 100))
    assert allowed([12, 1, 20]) <= {7, 8, 9, *range(20, 100)}
    assert allowed([12, 1, 20, 20]).isdisjoint(range(10, 100))
    assert 6 not in allowed([12, 1])


def test_tokens_are_cut_at_their_times():
    tokens = [10, 1, 2, 20, 20, 3, 60]
    assert ALPHABET.stretches(tokens) == [(0.0, 0.2, [1, 2]), (0.2, 1.0, [3])]
    assert ALPHABET.stretches([10, 1]) == [(0.0, math.inf, [1])]
    assert ALPHABET.stretches([10, 20]) == []


def test_a_multilingual_prompt_names_the_language():
    assert ALPHABET.prompt("de") == [8, 9, 4]


def silent(seconds):
    nothing = np.zeros((0, 0, 0, 3), np.uint8)
    waveform = np.zeros(round(seconds * 16_000), np.float32)
    return Clip(seconds, nothing, np.zeros(0), waveform, ((0.0, seconds),))


@pytest.fixture(scope="module")
def speech(shared):
    return Speech(SpeechConfig(model=str(shared("models/whisper-tiny.en"))))


@pytest.mark.slow
def test_words_are_found_with_their_times(speech, shared):
    name = "media/speech/librivox/sense_and_sensibility_01_austen_64kb-0930.wav"
    clip = decode(shared(name), Plan())
    quiet = np.zeros(40 * 16_000, np.float32)
    later = Clip(
        clip.duration_seconds + 40,
        clip.frames,
        clip.frame_seconds,
        np.concatenate([quiet, clip.waveform]),
        clip.spans,
    )
    for seen, offset in ((clip, 0.0), (later, 40.0)):
        (row,) = speech.describe(seen).to_pylist()
        assert row["text"] == "He might even have been made amiable himself."
        assert row["language"] == "en"
        assert offset <= row["start_seconds"] < offset + 0.5
        assert offset + 2.5 < row["stop_seconds"] <= offset + clip.duration_seconds


@pytest.mark.slow
def test_nobody_speaks_in_silence(speech):
    for seconds in (0.0, 0.01, 3.0):
        table = speech.describe(silent(seconds))
        assert table.schema == found(TRANSCRIPTS)
        assert table.num_rows == 0


@pytest.mark.slow
def test_a_revision_tells_settings_apart(speech):
    other = Speech(SpeechConfig(model=speech.config.model, pad_seconds=0.5))
    assert speech.name == other.name == "whisper-tiny.en+voice_band_energy"
    assert speech.revision != other.revision
