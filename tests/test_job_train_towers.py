"""The job with all that it may learn from beside histories, over a planted world.

The encoder that is trained has random weights.
"""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from avrec.config import RunConfig
from avrec.embed import pool
from avrec.embed.lora_config import LoraConfig
from avrec.errors import InputError
from avrec.interactions import Histories
from avrec.models import towers
from avrec.models.sequence_config import SequenceConfig
from avrec.models.towers_net import TowersConfig
from avrec.schema import EMBEDDINGS, INTERACTIONS, ITEMS, USERS, conform
from avrec.splits import SplitConfig
from avrec.store import Recipe, Workspace
from avrec.vocab import Vocabulary
from avrec.workers import WorkersConfig
from jobs.train_towers import run
from tests.embed import models
from tests.models.worlds import tastes

pytest.importorskip("peft", reason="needs peft, of the extra `lora`")
WORDS = ("red", "blue", "song")
NOTHING = Recipe({}, {})


def write(workspace):
    """Items with a title and four segments each, and who took to them."""
    world, rng = tastes(num_users=40), np.random.default_rng(0)
    ids = world.content.items.ids.to_pylist()
    titles = [WORDS[kind] for kind in world.kind_of_item]
    items = conform(pa.table({"item_id": ids, "title": titles}), ITEMS)
    workspace.write_table("items", items, ITEMS, NOTHING)
    seen = world.content.modalities["planted@1"]
    segments = [
        {"item_id": item_id, "encoder": "planted@1", "start_seconds": 10.0 * n,
         "stop_seconds": 10.0 * n + 10, "vector": seen[row] + 0.1 * rng.normal(size=8)}
        for row, item_id in enumerate(ids) for n in range(4)
    ]  # fmt: skip
    table = pa.Table.from_pylist(segments, schema=EMBEDDINGS)
    workspace.write_table("embeddings", table, EMBEDDINGS, NOTHING)
    with workspace.create("content", NOTHING) as draft:
        pool.save(pool.pool(table, Vocabulary.of(ids)), draft)
    past = world.histories
    columns = {
        "user_id": [f"u{n:02}" for n in past.query_of_item()],
        "item_id": [ids[row] for row in past.items],
        "weight": past.weights,
        "at": pa.array(past.at, pa.timestamp("us", tz="UTC")),
        "kind": ["like", "play"] * (len(past.items) // 2),
        "share": pa.array(np.full(len(past.items), 0.5, np.float32)),
    }
    liked = conform(pa.table(columns), INTERACTIONS)
    workspace.write_table("interactions", liked, INTERACTIONS, NOTHING)
    people = {"user_id": ["u00", "u01"], "field": ["sex", "sex"], "value": ["f", "m"]}
    workspace.write_table("users", conform(pa.table(people), USERS), USERS, NOTHING)
    return Vocabulary.of(ids)


def test_all_at_once_by_two_workers(local_ray, tmp_path):
    workspace = Workspace(str(tmp_path / "workspace"))
    items = write(workspace)
    folder = models.make(models.bert_of_three_layers, tmp_path / "bert")
    sequence = SequenceConfig(
        num_blocks=1, loss="sampled", num_negatives=16, with_kinds=True, with_shares=True
    )
    config = RunConfig(
        towers=TowersConfig(
            dim=16,
            num_heads=2,
            history_length=8,
            epochs=2,
            batch_size=20,
            user="sasrec",
            validation_users=10,
            pretrain_epochs=2,
            max_table_mb=0,
            precision="bf16",
            profile=("sex",),
            context=("hour",),
            lora=LoraConfig(model=str(folder), layers=2, rank=2, max_tokens=8),
            sequence=sequence,
        ),
        split=SplitConfig(rank_share=0, test_share=0),
        workers=WorkersConfig(num_workers=2, num_cpus=0.5),
    )
    run(config, workspace)
    found = workspace.open("towers")
    model = towers.load(found, items)
    assert len(model.curve) == 2
    assert all(epoch["loss"] > 0 and 0 <= epoch["score"] <= 1 for epoch in model.curve)
    assert found.names("events.out.tfevents.")
    tuned = pool.load(found, items)
    assert [name.partition("@")[0] for name in sorted(tuned.modalities)] == ["bert", "planted"]
    assert any("+lora-" in name for name in tuned.modalities)
    nobody = Histories.of([np.empty(0, np.int32)] * 2)
    newcomers = replace(nobody, profile={"sex": np.array(["f", ""])})
    assert model.user_vectors(newcomers).any(axis=1).tolist() == [True, False]
    run(config, workspace)
    assert workspace.open("towers").version == found.version, "up to date"

    absent = replace(config.towers, lora=LoraConfig(model="/no/such/folder"))
    with pytest.raises(InputError, match=r"for towers\.lora"):
        run(replace(config, towers=absent), workspace)
    with pytest.raises(InputError, match=r"'town', which is known of nobody; .*\['sex'\]"):
        run(replace(config, towers=replace(config.towers, profile=("town",))), workspace)
    assert workspace.open("towers").version == found.version
