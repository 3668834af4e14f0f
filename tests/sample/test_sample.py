"""Clips are told apart by simple moments; listeners follow the kinds that they are said to."""

import io
import json
from dataclasses import replace

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from avrec.feedback import FeedbackConfig, to_interactions
from avrec.interactions import histories
from avrec.sample.catalogue import CHANNELS_PER_KIND, compose, plan
from avrec.sample.clips import KINDS, render
from avrec.sample.listeners import ListenersConfig, simulate
from avrec.sample.write import SampleConfig, intact, write_sample
from avrec.schema import EVENTS, ITEMS, TIME, conform
from avrec.splits import SplitConfig, by_time
from avrec.store import place
from avrec.vocab import Vocabulary

SMALL = SampleConfig(num_clips=2, listeners=ListenersConfig(num_listeners=5, sessions=2))
KIND_NAMES = [kind.name for kind in KINDS]


def decoded(clip: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Sound as samples, and pictures as RGB; no pictures for a clip of sound only."""
    with av.open(io.BytesIO(clip)) as file:
        sound = [frame.to_ndarray().ravel() for frame in file.decode(audio=0)]
    with av.open(io.BytesIO(clip)) as file:
        frames = file.decode(video=0) if file.streams.video else []
        pictures = [frame.to_ndarray(format="rgb24") for frame in frames]
    return np.concatenate(sound), np.array(pictures)


@pytest.fixture(scope="module")
def world():
    """The catalogue of the default sample without its clips, and events over it."""
    config = SampleConfig()
    plans = plan(config.num_clips, 0)
    items = compose(plans, [p.name for p in plans], config.listeners.span(), 0)
    kinds = [KINDS[p.kind].name for p in plans]
    durations = np.array([p.seconds for p in plans])
    rng = np.random.default_rng(0)
    return items, kinds, durations, simulate(items, kinds, durations, config.listeners, rng)


@pytest.mark.parametrize("suffix", [".mp4", ".m4a", ".flac", ".ogg"])
def test_clip_decodes_at_its_length(suffix):
    sound, pictures = decoded(render(KINDS[0], suffix, 2.0, np.random.default_rng(0)))
    rate = 48_000 if suffix == ".ogg" else 16_000
    assert abs(len(sound) / rate - 2.0) < 0.15
    assert 0.3 < np.abs(sound).max() <= (1.2 if sound.dtype.kind == "f" else 32767)
    assert pictures.shape == ((20, 120, 160, 3) if suffix == ".mp4" else (0,))


@pytest.mark.parametrize("kind", KINDS, ids=KIND_NAMES)
def test_same_seed_same_clip_and_other_seed_another(kind):
    first, again, other = (render(kind, ".mp4", 0.5, np.random.default_rng(s)) for s in (0, 0, 1))
    assert first == again
    assert not np.array_equal(decoded(first)[0], decoded(other)[0])


def test_kinds_differ_more_than_clips_of_a_kind():
    moments = np.array(
        [
            [
                _moments(render(kind, ".mp4", 2.0, np.random.default_rng([n, seed])))
                for seed in range(2)
            ]
            for n, kind in enumerate(KINDS)
        ]
    )
    moments = (moments - moments.mean((0, 1))) / moments.std((0, 1))
    within = np.linalg.norm(moments[:, 0] - moments[:, 1], axis=-1)
    between = np.linalg.norm(moments[:, None, 0] - moments[None, :, 1], axis=-1)
    assert (between.argmin(axis=1) == np.arange(len(KINDS))).all(), (within, between)


def _moments(clip: bytes) -> np.ndarray:
    sound, pictures = decoded(clip)
    spectrum = np.abs(np.fft.rfft(sound)) ** 2
    centre = (spectrum * np.arange(len(spectrum))).sum() / spectrum.sum()
    motion = np.abs(np.diff(pictures.astype(float), axis=0)).mean()
    return np.array([np.log(centre), np.log(1 + motion), *pictures.mean((0, 1, 2))])


def test_writes_files_such_as_a_user_has(root_uri):
    parts = write_sample(root_uri, SMALL, seed=3)
    root = place(root_uri)
    assert intact(root, parts)
    items = pq.read_table(pa.BufferReader((root / "items.parquet").read()))
    events = pq.read_table(pa.BufferReader((root / "events.parquet").read()))
    assert conform(items, ITEMS).equals(items)
    assert conform(events, EVENTS).equals(events)
    assert set(events["item_id"].to_pylist()) <= set(items["item_id"].to_pylist())
    clips = [place(uri).read() for uri in items["uri"].to_pylist()]
    assert all(len(decoded(clip)[0]) for clip in clips)
    assert b"simulated" in (root / "README.txt").read()
    (root / "clips/clip-000.mp4").write(b"x")
    assert not intact(root, parts)


def test_same_seed_same_tables(tmp_path):
    one = replace(SMALL, num_clips=1)
    parts = [write_sample(str(tmp_path), one, seed=seed) for seed in (3, 3, 4)]
    assert parts[0] == parts[1]
    assert {p.name: p.sha256 for p in parts[0]} != {p.name: p.sha256 for p in parts[2]}


def test_catalogue_says_that_it_is_simulated(world):
    items, kinds, _, _ = world
    assert all("simulated" in tags for tags in items["tags"].to_pylist())
    assert all("(simulated)" in channel for channel in items["creator_id"].to_pylist())
    assert len(set(items["creator_id"].to_pylist())) <= CHANNELS_PER_KIND * len(KINDS)
    assert [kinds.count(name) for name in KIND_NAMES] == [len(kinds) // len(KINDS)] * len(KINDS)


def test_nothing_is_shown_before_it_is_published(world):
    items, _, _, events = world
    row = Vocabulary.of(items["item_id"]).idx(events["item_id"])
    published = items["published_at"].cast(pa.int64()).to_numpy()[row]
    assert (events["at"].cast(pa.int64()).to_numpy() >= published).all()


def test_every_play_follows_its_impression_and_stays_within_the_clip(world):
    items, _, durations, events = world
    kind = events["kind"].to_numpy(zero_copy_only=False)
    key = [
        f"{r} {i}"
        for r, i in zip(
            events["request_id"].to_pylist(), events["item_id"].to_pylist(), strict=True
        )
    ]
    shown = {key[n] for n in np.flatnonzero(kind == "impression")}
    assert shown == set(key)
    assert len(shown) == (kind == "impression").sum()
    row = Vocabulary.of(items["item_id"]).idx(events["item_id"])
    position = events["position_seconds"].to_numpy()
    assert np.nanmax(position / durations[row]) <= 1
    assert np.nanmin(position) == 0
    assert set(kind) == {
        "impression", "play", "progress", "skip", "complete", "like", "dislike", "share",
    }  # fmt: skip


def test_what_a_listener_took_to_tells_more_than_what_all_did(world):
    items, kinds, durations, events = world
    length = pa.table({"item_id": items["item_id"], "duration_seconds": durations})
    split = by_time(to_interactions(events, length, FeedbackConfig()), SplitConfig(rank_share=0))
    vocabulary = Vocabulary.of(items["item_id"])
    past = histories(split.train, vocabulary)
    future = histories(split.test, vocabulary, past.users).histories
    seen = past.histories.matrix(len(items)).toarray()
    popularity = seen.sum(axis=0)
    of_kind = np.equal.outer(kinds, kinds) @ np.eye(len(kinds))
    own = (seen @ of_kind) + popularity / popularity.max()
    assert len(items) - (popularity > 0).sum() >= 5
    assert _recall(own, seen, future) > 1.3 * _recall(
        np.tile(popularity, (len(seen), 1)), seen, future
    )


def _recall(scores: np.ndarray, seen: np.ndarray, future, k: int = 20) -> float:
    top = np.argsort(-np.where(seen > 0, -np.inf, scores), axis=1)[:, :k]
    hits = [np.isin(future.row(q), top[q]).mean() for q in range(len(seen)) if len(future.row(q))]
    return float(np.mean(hits))


def test_events_over_any_catalogue(shared):
    manifest = shared("media/manifest.jsonl").read_text().splitlines()
    files = [json.loads(line) for line in manifest]
    items = pa.table(
        {"item_id": [f["path"] for f in files], "title": [f["title"] or f["path"] for f in files]}
    )
    kinds = [f["path"].split("/")[0] for f in files]
    durations = np.array([f.get("duration_s") or np.nan for f in files], float)
    config = ListenersConfig(num_listeners=50)
    events = simulate(items, kinds, durations, config, np.random.default_rng(1))
    assert conform(events, EVENTS).equals(events)
    assert len(set(events["item_id"].to_pylist())) > 200
    assert events.equals(simulate(items, kinds, durations, config, np.random.default_rng(1)))


def test_short_catalogue_runs_out_and_none_is_no_events():
    config = ListenersConfig(num_listeners=3)
    one = pa.table({"item_id": ["i"], "title": ["t"]})
    rng = np.random.default_rng(0)
    assert set(simulate(one, ["k"], np.array([5.0]), config, rng)["item_id"].to_pylist()) == {"i"}
    assert simulate(ITEMS.empty_table(), [], np.empty(0), config, rng).equals(EVENTS.empty_table())
    later = one.append_column("published_at", pa.array([2**60]).cast(TIME))
    assert len(simulate(later, ["k"], np.array([5.0]), config, rng)) == 0


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_listeners": 0}, "num_listeners must be at least 1, got 0"),
        ({"sessions": 0.0}, "sessions must be above 0, got 0.0"),
        ({"drift": 1.5}, r"drift must be in \[0, 1\], got 1.5"),
        ({"until": "soon"}, "'soon' does not match"),
    ],
)
def test_config_is_checked(fields, message):
    with pytest.raises(ValueError, match=message):
        ListenersConfig(**fields)
