import hashlib
import os

import numpy as np
import pyarrow as pa
import pytest

from avrec.catalogue import merge
from avrec.config import RunConfig
from avrec.distributed.probe import probe_all
from avrec.embed import pool
from avrec.embed.encoder import EmbedConfig, EncoderConfig
from avrec.media.files import MediaConfig, expand
from avrec.schema import EMBEDDINGS, FINGERPRINTS, ITEMS, MEDIA, QUARANTINE, THUMBNAILS
from avrec.store import Workspace, place
from avrec.vocab import Vocabulary
from jobs import embed, probe
from tests.media.clips import tone, write_clip, write_sound


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("clips")
    for number in range(3):
        write_clip(root / f"clip{number}.mp4", seconds=1 + number)
    write_sound(root / "low.wav", tone(1, 110))
    write_sound(root / "high.wav", tone(1, 1760))
    (root / "page.mp4").write_bytes(b"<html>")
    return root


def run_both(folder, root, num_actors):
    config = RunConfig(
        media=MediaConfig(inputs=(str(folder),), num_actors=num_actors),
        embed=EmbedConfig(segment_seconds=1, num_actors=num_actors, files_per_batch=2),
    )
    workspace = Workspace(str(root))
    probe.run(config, workspace)
    embed.run(config, workspace)
    return config, workspace


def test_every_file_ends_as_a_vector_or_an_error(local_ray, folder, tmp_path):
    config, workspace = run_both(folder, tmp_path, num_actors=1)
    items = workspace.read_table("items", ITEMS)
    vectors = workspace.read_table("embeddings", EMBEDDINGS)
    (refused,) = workspace.read_table("quarantine", QUARANTINE).to_pylist()
    page = (folder / "page.mp4").read_bytes()
    assert (refused["item_id"], refused["stage"]) == ("page.mp4", "probe")
    assert refused["kind"] == "not_media"
    assert refused["sha256"] == hashlib.sha256(page).hexdigest()
    assert set(vectors["item_id"].to_pylist()) == set(items["item_id"].to_pylist()) - {"page.mp4"}
    segments = pa.compute.sum(pa.compute.equal(vectors["encoder"], "picture_moments@1")).as_py()
    assert segments == 1 + 2 + 3
    content = pool.load(workspace.open("content"), Vocabulary.of(items["item_id"]))
    assert content.joined().any(axis=1).sum() == 5
    for name, schema in (("thumbnails", THUMBNAILS), ("fingerprints", FINGERPRINTS)):
        assert len(workspace.read_table(name, schema)) == 5
    version = workspace.open("embeddings").version
    probe.run(config, workspace)
    embed.run(config, workspace)
    assert workspace.open("embeddings").version == version


def test_the_number_of_actors_changes_nothing(local_ray, folder, tmp_path):
    tables = []
    for num_actors in (1, 2):
        _, workspace = run_both(folder, tmp_path / str(num_actors), num_actors)
        tables.append(workspace.read_table("embeddings", EMBEDDINGS))
    one, two = (table.sort_by([(name, "ascending") for name in KEYS]) for table in tables)
    assert one.select(KEYS).equals(two.select(KEYS))
    for left, right in zip(one["vector"].to_pylist(), two["vector"].to_pylist(), strict=True):
        np.testing.assert_array_equal(left, right)


def test_a_pool_of_its_own_changes_nothing(local_ray, folder, tmp_path):
    tables = []
    for pool_name in ("", "apart"):
        kinds = ("picture_moments", "sound_moments", "word_hashes")
        encoders = tuple(EncoderConfig(kind=kind, pool=pool_name) for kind in kinds)
        config = RunConfig(
            media=MediaConfig(inputs=(str(folder),)),
            embed=EmbedConfig(encoders=encoders, num_actors=1, num_decoders=2),
        )
        workspace = Workspace(str(tmp_path / f"ws{pool_name}"))
        probe.run(config, workspace)
        embed.run(config, workspace)
        tables.append(workspace.read_table("embeddings", EMBEDDINGS))
    one, two = (table.sort_by([(name, "ascending") for name in KEYS]) for table in tables)
    assert len(one)
    assert one.combine_chunks().equals(two.combine_chunks())


KEYS = ["item_id", "encoder", "start_seconds"]


def test_words_of_items_without_media_are_embedded(local_ray, tmp_path):
    (tmp_path / "items.csv").write_text("item_id,title\n1,Red song\n2,Blue film\n")
    config = RunConfig(media=MediaConfig(items=str(tmp_path / "items.csv")))
    workspace = Workspace(str(tmp_path / "ws"))
    probe.run(config, workspace)
    embed.run(config, workspace)
    vectors = workspace.read_table("embeddings", EMBEDDINGS)
    assert vectors["encoder"].unique().to_pylist() == ["word_hashes@1"]
    assert len(workspace.read_table("media", MEDIA)) == 0


def test_a_changed_file_is_probed_again(local_ray, tmp_path):
    write_sound(tmp_path / "a.wav", tone(1))
    config, root = MediaConfig(inputs=(str(tmp_path),)), place(str(tmp_path / "workspace"))
    first = merge(None, probe_all(expand(config.inputs).files, config, root)).media
    write_sound(tmp_path / "a.wav", tone(2))
    second = merge(None, probe_all(expand(config.inputs).files, config, root)).media
    durations = [table["duration_seconds"][0].as_py() for table in (first, second)]
    assert durations == [pytest.approx(1), pytest.approx(2)]
    assert first["sha256"] != second["sha256"]


def test_what_was_probed_is_not_probed_again(local_ray, tmp_path):
    write_sound(tmp_path / "a.wav", tone(1))
    (tmp_path / "b.mp4").write_bytes(b"<html>")
    config, root = MediaConfig(inputs=(str(tmp_path),)), place(str(tmp_path / "workspace"))
    files = expand(config.inputs).files
    first = probe_all(files, config, root)
    for file in files:
        os.truncate(file.uri, 0)  # what would be read now is another thing
    assert probe_all(files, config, root).equals(first)


def test_one_content_under_two_ids_is_computed_once_and_both_have_vectors(local_ray, tmp_path):
    clips = tmp_path / "clips"
    clips.mkdir()
    write_sound(clips / "a.wav", tone(1))
    (clips / "b.wav").write_bytes((clips / "a.wav").read_bytes())
    _, workspace = run_both(clips, tmp_path / "ws", num_actors=1)
    vectors = workspace.read_table("embeddings", EMBEDDINGS)
    one, two = (
        [row["vector"] for row in vectors.to_pylist() if row["item_id"] == name]
        for name in ("a.wav", "b.wav")
    )
    assert one[0] == two[0]
    stats = workspace.open("embed_stats").json("stats.json")
    files = {stage["name"]: stage["files"] for stage in stats["stages"]}
    assert files["decode"] == 1
    assert len(workspace.read_table("thumbnails", THUMBNAILS)) == 2


def test_a_file_that_goes_between_probe_and_embed_is_quarantined_and_comes_back(
    local_ray, tmp_path
):
    clips = tmp_path / "clips"
    clips.mkdir()
    for name in ("a", "b"):
        write_sound(clips / f"{name}.wav", tone(1, 110 if name == "a" else 220))
    config = RunConfig(media=MediaConfig(inputs=(str(clips),)))
    workspace = Workspace(str(tmp_path / "ws"))
    probe.run(config, workspace)
    (clips / "b.wav").rename(tmp_path / "b.wav")
    embed.run(config, workspace)
    refused = workspace.read_table("quarantine", QUARANTINE).to_pylist()
    assert [(row["item_id"], row["stage"], row["kind"]) for row in refused] == [
        ("b.wav", "decode", "fetch_failed")
    ]
    assert workspace.read_table("embeddings", EMBEDDINGS)["item_id"].unique().to_pylist() == [
        "a.wav"
    ]
    (tmp_path / "b.wav").rename(clips / "b.wav")
    embed.run(config, workspace)
    assert len(workspace.read_table("quarantine", QUARANTINE)) == 0
    assert len(workspace.read_table("embeddings", EMBEDDINGS)["item_id"].unique()) == 2
