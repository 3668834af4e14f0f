"""Models have random weights: what counts is what is read, how often, and what is kept."""

import numpy as np
import pyarrow as pa
import pytest

from avrec.config import RunConfig
from avrec.embed.describe.config import DescribeConfig, SpeechConfig
from avrec.embed.describe.known import known_of
from avrec.embed.describe.language_config import LanguageConfig, OpinionsConfig
from avrec.embed.encoder import EmbedConfig, EncoderConfig
from avrec.embed.text import WordHashes
from avrec.ledger import held
from avrec.media.files import MediaConfig
from avrec.schema import (
    DESCRIPTIONS,
    EMBEDDINGS,
    ITEMS,
    MEDIA,
    OPINIONS,
    RECEPTION,
    SEGMENT_LABELS,
    TRANSCRIPTS,
    conform,
)
from avrec.store import Workspace
from jobs import describe, embed, probe
from tests.embed.describe.chats import save_llama


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(save_llama(tmp_path_factory.mktemp("llama")))


@pytest.fixture
def workspace(tmp_path):
    made = Workspace(str(tmp_path / "ws"))
    titles = {"item_id": ["a", "b", "c"], "title": ["A song", "A film", "A film"]}
    made.write_table("items", conform(pa.table(titles), ITEMS), ITEMS, made.recipe({}))
    made.write_table("media", MEDIA.empty_table(), MEDIA, made.recipe({}))
    return made


def config(model, **opinions) -> RunConfig:
    language = LanguageConfig(model=model, summary_tokens=0, max_tokens=40)
    return RunConfig(
        describe=DescribeConfig(language=language, opinions=OpinionsConfig(**opinions))
    )


def test_every_item_is_described_and_equal_texts_are_read_once(local_ray, model, workspace):
    describe.run(config(model), workspace)
    rows = workspace.read_table("descriptions", DESCRIPTIONS).to_pylist()
    assert [row["item_id"] for row in rows] == ["a", "b", "c"]
    assert all(row["topics"] and row["mood"] and row["audience"] for row in rows)
    assert rows[1] | {"item_id": "c"} == rows[2]
    assert sum(one.num_parts for one in held(workspace.root)) == 1


def test_a_new_item_is_all_that_a_rerun_reads(local_ray, model, workspace):
    describe.run(config(model), workspace)
    before = held(workspace.root)[0].num_parts
    titles = {"item_id": ["a", "d"], "title": ["A song", "News"]}
    workspace.write_table(
        "items", conform(pa.table(titles), ITEMS), ITEMS, workspace.recipe({"second": True})
    )
    describe.run(config(model), workspace)
    assert held(workspace.root)[0].num_parts == before + 1
    rows = workspace.read_table("descriptions", DESCRIPTIONS)
    assert rows["item_id"].to_pylist() == ["a", "d"]


def test_comments_become_opinions(local_ray, model, workspace, tmp_path):
    (tmp_path / "c.csv").write_text("item_id,text\na,Great\nb,Great\na,Dull and long\n")
    describe.run(config(model, uri=str(tmp_path / "c.csv")), workspace)
    assert len(workspace.read_table("opinions", OPINIONS)) == 3
    assert workspace.read_table("reception", RECEPTION)["num_opinions"].to_pylist() == [2, 1]


def test_without_a_model_nothing_is_made(workspace):
    describe.run(config(""), workspace)
    assert not workspace.has("descriptions")
    with pytest.raises(ValueError, match=r"language\.model must be set to read opinions\.uri"):
        config("", uri="c.csv")


def test_what_was_heard_and_seen_is_known():
    items = conform(pa.table({"item_id": ["a", "b"], "title": ["A", "B"]}), ITEMS)
    said = [
        {"item_id": "a", "producer": "w@1", "start_seconds": t, "stop_seconds": t + 1, "text": word}
        for t, word in ((2.0, "world"), (0.0, "hello"))
    ]
    heard = [
        {"item_id": "a", "producer": "y@1", "kind": kind, "label": label, "score": score}
        | {"start_seconds": 0.0, "stop_seconds": 1.0}
        for kind, label, score in (
            ("sound_event", "Speech", 0.9),
            ("frame_tag", "a room", 0.95),
            ("safety_mean", "porn", 0.99),
        )
    ]
    known = known_of(
        items,
        {
            "transcripts": pa.Table.from_pylist(said, schema=TRANSCRIPTS),
            "segment_labels": pa.Table.from_pylist(heard, schema=SEGMENT_LABELS),
        },
    )
    assert known["a"].transcript == "hello world"
    assert known["a"].tags == ("a room", "Speech")
    assert known["b"].transcript == ""
    assert known["a"].key != known["b"].key


def test_a_clip_is_found_by_what_is_said_in_it(local_ray, shared, tmp_path):
    folder = tmp_path / "clips"
    folder.mkdir()
    for number, name in enumerate(("librispeech/198-209-0000.ogg", "moonshine/beckett.wav")):
        source = shared(f"media/speech/{name}")
        (folder / f"rec{number}{source.suffix}").write_bytes(source.read_bytes())
    speech = SpeechConfig(model=str(shared("models/whisper-tiny.en")))
    run_config = RunConfig(
        media=MediaConfig(inputs=(str(folder),), num_actors=1),
        embed=EmbedConfig(num_actors=1, encoders=(EncoderConfig(kind="word_hashes"),)),
        describe=DescribeConfig(speech=speech),
    )
    made = Workspace(str(tmp_path / "ws"))
    for job in (probe, describe, embed):
        job.run(run_config, made)
    rows = made.read_table("descriptions", DESCRIPTIONS).to_pylist()
    assert [row["item_id"] for row in rows] == ["rec0.ogg", "rec1.wav"]
    assert "fail again. fail better" in rows[1]["transcript"].casefold()
    vectors = made.read_table("embeddings", EMBEDDINGS).sort_by("item_id")
    asked = WordHashes().encode(["ever tried ever failed no matter"])[0]
    scores = np.array(vectors["vector"].to_pylist()) @ asked
    assert vectors["item_id"][int(scores.argmax())].as_py() == "rec1.wav"
