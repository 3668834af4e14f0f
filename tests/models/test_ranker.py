import dataclasses
import itertools

import numpy as np
import pytest
import torch

from avrec.errors import ArtifactError
from avrec.models import ranker
from avrec.models.features import DENSE, FIELDS, Features
from avrec.models.ranker import RankerConfig, Scale
from avrec.store import Workspace
from avrec.vocab import Vocabulary
from tests.models.worlds import shares

CONFIG = RankerConfig(epochs=6, batch_size=128, learning_rate=0.01)
ITEMS = Vocabulary.of(["a", "b"])


@pytest.fixture(scope="module")
def examples():
    return shares(np.random.default_rng(5))


@pytest.fixture(scope="module")
def model(examples):
    return ranker.fit(*examples, CONFIG, seed=1)


def test_finds_what_dense_features_and_pairs_of_fields_say(model):
    features, truth = shares(np.random.default_rng(6), 800)
    scores = model.score(features)
    assert scores.dtype == np.float32
    assert ((scores >= 0) & (scores <= 1)).all()
    assert np.corrcoef(scores, truth)[0, 1] > 0.9


def test_logit_is_linear_part_plus_pairs_plus_network(examples):
    net = ranker.build(Scale.of(examples[0]), CONFIG, seed=0)
    torch.nn.init.normal_(net.bias.weight)
    dense = torch.from_numpy(examples[0].dense[:1])
    fields = torch.from_numpy(examples[0].fields[:1]).long()
    mean, deviation = net.scale
    scaled = ((dense - mean) / deviation).clamp(-5, 5)
    starts = [0, *itertools.accumulate(FIELDS.values())][:-1]
    rows = [int(field) + start for field, start in zip(fields[0], starts, strict=True)]
    vectors = [net.embed.weight[row] for row in rows]
    pairs = sum(a @ b for a, b in itertools.combinations(vectors, 2))
    linear = net.linear(scaled)[0, 0] + sum(net.bias.weight[row, 0] for row in rows)
    deep = net.deep(torch.cat([scaled[0], *vectors]))[0]
    torch.testing.assert_close(net(dense, fields)[0], linear + pairs + deep)


def test_a_feature_that_never_varies_is_harmless(examples):
    dense = examples[0].dense.copy()
    dense[:, 3] = 7
    config = dataclasses.replace(CONFIG, epochs=1)
    model = ranker.fit(Features(dense, examples[0].fields), examples[1], config, seed=0)
    dense[:, 3] = 1e6
    assert np.isfinite(model.score(Features(dense, examples[0].fields))).all()


def test_no_candidates_give_no_scores(model):
    nothing = Features(np.zeros((0, len(DENSE)), np.float32), np.zeros((0, len(FIELDS)), np.int32))
    assert model.score(nothing).shape == (0,)


def test_saved_ranker_comes_back_and_is_checked(tmp_path, model, examples):
    workspace = Workspace(str(tmp_path))
    with workspace.create("ranker", workspace.recipe(CONFIG)) as draft:
        ranker.save(model, ITEMS, draft)
    found = workspace.open("ranker")
    again = ranker.load(found, ITEMS)
    np.testing.assert_array_equal(again.score(examples[0]), model.score(examples[0]))
    assert again.config == CONFIG
    with pytest.raises(ArtifactError, match="another catalogue"):
        ranker.load(found, Vocabulary.of(["z"]))


def test_ranker_of_other_features_is_refused(tmp_path, model):
    workspace = Workspace(str(tmp_path))
    with workspace.create("ranker", workspace.recipe(CONFIG)) as draft:
        ranker.save(dataclasses.replace(model, columns=("old",)), ITEMS, draft)
    with pytest.raises(ArtifactError, match="other features"):
        ranker.load(workspace.open("ranker"), ITEMS)


@pytest.mark.parametrize("wrong", [{"dim": 0}, {"hidden": (0,)}, {"validation_share": 1.0}])
def test_rejects_impossible_configurations(wrong):
    with pytest.raises(ValueError, match="must be"):
        RankerConfig(**wrong)
