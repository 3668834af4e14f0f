"""Train the ranker on Ray Train, on impressions as the trained retrievers saw them."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import pyarrow as pa
import ray

from avrec import users
from avrec.arrays import Scores
from avrec.bundle import build_recommender, catalogue, trained_models
from avrec.distributed import learn
from avrec.distributed.learn import Run
from avrec.errors import InputError
from avrec.index import Lister
from avrec.models import ranker
from avrec.models.features import SOURCES, Features
from avrec.models.impressions import Impressions, between, compare, describe, halves
from avrec.models.ranker import Ranker, RankerConfig, Scale
from avrec.models.training import Course
from avrec.recommend import RecommendConfig
from avrec.schema import ITEMS, MEDIA
from avrec.splits import Split
from avrec.store import Workspace


def examples(workspace: Workspace, split: Split, labels: pa.Table) -> Impressions:
    """Describe the impressions of the ranker's window by the models in the workspace.

    Popularity and the retrievers know only what came before the window.

    Args:
        workspace: holds the tables and the retrieval models.
        split: of its interactions.
        labels: LABELS of any time.
    """
    items, vocabulary = catalogue(workspace.read_table("items", ITEMS))
    media = workspace.read_table("media", MEDIA)
    models = trained_models(workspace, SOURCES)
    whole = build_recommender(items, split.train, models, RecommendConfig(), media)
    before = pa.concat_tables([split.train, split.rank])
    window = between(labels, split.rank_at, split.test_at)
    retrievers = [one for one in whole.retrievers if not isinstance(one, Lister)]
    people = users.read(workspace)
    return describe(window, before, vocabulary, retrievers, whole.knowledge, people)


def fit_and_judge(
    shown: Impressions, config: RankerConfig, run: Run
) -> tuple[Ranker, dict[str, float]]:
    """Train on the earlier impressions and measure on the later ones, beside each retriever.

    Raises:
        InputError: there are too few impressions for both.
    """
    earlier, later = halves(shown, config.validation_share)
    if not len(earlier) or not len(later):
        raise InputError(
            f"{len(shown)} impressions between the retrieval models' window and the test, "
            "too few to learn from"
        )
    model = fit(earlier.features, earlier.labels, config, run)
    return model, compare(later, model.score(later.features))


def fit(features: Features, labels: Scores, config: RankerConfig, run: Run) -> Ranker:
    """Do what `avrec.models.ranker.fit` does, on the workers of `run`."""
    scale = Scale.of(features)
    files = learn.fit(
        loop, ranker.columns(features, labels), asdict(scale), {"config": asdict(config)}, run
    )
    return ranker.from_files(files, scale, config)


def loop(settings: Mapping[str, Any]) -> None:
    """Train as one worker."""
    config = RankerConfig(**settings["config"])
    facts = ray.get(settings["facts"])
    net = ranker.build(Scale(facts["mean"], facts["deviation"]), config, settings["seed"])
    learn.learn_on_worker(
        net,
        lambda wrapped, _: (ranker.soft_label_loss(wrapped), Course()),
        learn.join_crew(),
        config,
        settings,
    )
