import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from avrec.embed.describe.config import SpeechConfig
from avrec.embed.describe.voice import (
    FRAME_SECONDS,
    SileroVoice,
    VoiceBandEnergy,
    load_voice,
    speech_spans,
)
from avrec.embed.describe.windows import in_clip, packed, sound_of
from avrec.errors import InputError
from avrec.media.decode import decode
from avrec.media.sampling import Plan

CHANCES = st.lists(st.floats(0, 1), max_size=120).map(np.array)


@given(CHANCES, st.floats(0, 0.5), st.floats(0, 0.5), st.floats(0, 0.3))
def test_spans_are_sorted_disjoint_and_within_the_clip(chances, speech, pause, pad):
    config = SpeechConfig(min_speech_seconds=speech, min_pause_seconds=pause, pad_seconds=pad)
    seconds = len(chances) * FRAME_SECONDS
    spans = speech_spans(chances, seconds, config)
    edges = [edge for span in spans for edge in span]
    assert edges == sorted(set(edges))
    assert all(0 <= edge <= seconds for edge in edges)
    assert not len(chances) or bool(spans) <= bool(chances.max() >= config.voice_threshold)


@given(CHANCES)
def test_every_frame_that_is_surely_speech_is_in_a_span(chances):
    seconds = len(chances) * FRAME_SECONDS
    spans = speech_spans(chances, seconds, SpeechConfig(min_speech_seconds=0.0))
    for frame in np.flatnonzero(chances >= 0.5):
        middle = (frame + 0.5) * FRAME_SECONDS
        assert any(start <= middle < stop for start, stop in spans)


def test_a_dip_neither_begins_nor_ends_a_span():
    frames = np.array([0.4] * 5 + [0.9] * 10 + [0.4] * 30 + [0.9] * 5 + [0.0] * 40)
    config = SpeechConfig(pad_seconds=0.0)
    ((start, stop),) = speech_spans(frames, 90 * FRAME_SECONDS, config)
    assert (start, stop) == pytest.approx((5 * FRAME_SECONDS, 50 * FRAME_SECONDS))


@given(CHANCES, st.floats(0.5, 3))
def test_windows_hold_all_speech_once_and_none_is_too_long(chances, longest):
    spans = speech_spans(chances, len(chances) * FRAME_SECONDS, SpeechConfig())
    windows = packed(spans, longest, chances)
    lengths = [sum(stop - start for start, stop in window) for window in windows]
    assert all(length <= longest + 1e-9 for length in lengths)
    assert sum(lengths) == pytest.approx(sum(stop - start for start, stop in spans))
    edges = [edge for window in windows for span in window for edge in span]
    assert edges == sorted(edges)


UNBROKEN = st.lists(st.floats(0.4, 1), min_size=100, max_size=200).map(np.array)


@given(UNBROKEN, st.floats(0.5, 3))
def test_speech_without_a_pause_is_cut_where_it_is_faintest(chances, longest):
    chances[0] = 1.0
    seconds = len(chances) * FRAME_SECONDS
    assert seconds > longest
    windows = packed([(0.0, seconds)], longest, chances)
    edges = [edge for window in windows for span in window for edge in span]
    assert edges[0] == 0.0
    assert edges[-1] == seconds
    assert edges == sorted(edges)
    first_end = edges[1]
    searched = chances[math.ceil(longest / 2 / FRAME_SECONDS) : math.floor(longest / FRAME_SECONDS)]
    assert chances[round(first_end / FRAME_SECONDS)] == searched.min()


def test_a_second_of_a_window_is_found_again_in_the_clip():
    window = [(1.0, 2.0), (5.0, 8.0)]
    assert in_clip(window, 0.0, 1.0) == pytest.approx((1.0, 2.0))
    assert in_clip(window, 1.0, 4.0) == pytest.approx((5.0, 8.0))
    assert in_clip(window, 0.5, 1.5) == pytest.approx((1.5, 5.5))
    ramp = np.arange(10 * 16_000, dtype=np.float32)
    heard = sound_of(window, ramp)
    assert len(heard) == 4 * 16_000
    assert heard[round(1.5 * 16_000)] == 5.5 * 16_000


def test_energy_hears_bursts_and_not_silence():
    rng = np.random.default_rng(0)
    sound = rng.normal(0, 1e-4, 5 * 16_000)
    sound[2 * 16_000 : 3 * 16_000] += rng.normal(0, 0.1, 16_000)
    voice = load_voice(SpeechConfig())
    assert voice.name == "voice_band_energy"
    chances = voice.probabilities(sound.astype(np.float32))
    ((start, stop),) = speech_spans(chances, 5.0, SpeechConfig(pad_seconds=0.0))
    assert 1.6 < start < 2.1
    assert 2.9 < stop < 3.4


@pytest.mark.parametrize("samples", [0, 1, 511, 512, 513])
def test_energy_gives_a_probability_a_frame(samples):
    chances = VoiceBandEnergy().probabilities(np.zeros(samples, np.float32))
    assert len(chances) == -(-samples // 512)
    assert not chances.any()


def test_silero_tells_speech_from_music(shared):
    pytest.importorskip("onnxruntime")
    voice = SileroVoice(str(shared("models/silero-vad")))
    share = {}
    for name in ("speech/moonshine/beckett.wav", "music/lordsawar/battle.ogg"):
        waveform = decode(shared(f"media/{name}"), Plan(max_seconds=10)).waveform
        share[name] = (voice.probabilities(waveform) > 0.5).mean()
    speech, music = share.values()
    assert speech > 0.4
    assert music < 0.1
    assert len(voice.probabilities(np.zeros(0, np.float32))) == 0


def test_an_absent_voice_model_is_said_so(tmp_path):
    with pytest.raises(InputError, match="voice_model"):
        SileroVoice(str(tmp_path))
