from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avrec.alike import DuplicatesConfig
from avrec.arrays import unit
from avrec.duplicates import find, groups
from avrec.embed.pool import Content
from avrec.schema import DUPLICATES, FINGERPRINTS, ITEMS, MEDIA, conform
from avrec.vocab import Vocabulary

CONFIG = DuplicatesConfig()
FRAMES, WORDS = 12, 200
works = st.lists(st.integers(0, 3), min_size=1, max_size=8)
"""Which of four works each upload shows."""


def upload(work: int, copy: int) -> dict:
    """One work coded anew: a bit of every frame is wrong, and one in sixteen of the sound."""
    rng = np.random.default_rng(work)
    frames = rng.integers(1, 1 << 63, FRAMES, np.uint64)
    sound = rng.integers(1, 1 << 32, WORDS, np.uint32)
    noise = np.random.default_rng([work, copy])
    wrong = np.bitwise_or.reduce(1 << noise.integers(0, 32, (WORDS, 2), np.uint32), axis=1)
    spared = noise.random(WORDS) < 0.5
    return {
        "sha256": f"{work}{copy:04}",
        "frames": frames ^ (np.uint64(1) << noise.integers(0, 64, FRAMES, np.uint64)),
        "frame_seconds": np.arange(FRAMES, dtype=np.float64),
        "sound": np.where(spared, sound, sound ^ wrong.astype(np.uint32)),
    }


def catalogue(names, shas, published=None):
    items = pa.table({"item_id": names, "title": names})
    if published is not None:
        items = items.append_column("published_at", pa.array(published, pa.timestamp("us", "UTC")))
    media = pa.table({"item_id": names, "uri": names, "sha256": pa.array(shas, pa.string())})
    return conform(items, ITEMS), conform(media, MEDIA)


def prints(rows, names="abcdefgh") -> pa.Table:
    named = [row | {"item_id": name} for name, row in zip(names, rows, strict=False)]
    return pa.Table.from_pylist(named, schema=FINGERPRINTS)


def of_uploads(shown: list[int], names: list[str]) -> pa.Table:
    rows = [upload(work, copy) for copy, work in enumerate(shown)]
    items, media = catalogue(names, [row["sha256"] for row in rows])
    return find(items, media, prints(rows, names), None, CONFIG)


def partition(table: pa.Table) -> set[frozenset[str]]:
    members: dict[str, set[str]] = {}
    for row in table.to_pylist():
        members.setdefault(row["group"], set()).add(row["item_id"])
    return {frozenset(group) for group in members.values()}


@given(shown=works)
def test_uploads_of_a_work_are_one_group_and_an_item_alone_has_no_row(shown):
    names = [f"i{n}" for n in range(len(shown))]
    found = of_uploads(shown, names)
    of_work = [frozenset(n for n, w in zip(names, shown, strict=True) if w == k) for k in range(4)]
    assert partition(found) == {group for group in of_work if len(group) > 1}
    assert set(found["kind"].to_pylist()) <= {"frames and sound"}
    assert all(0.7 < value <= 1 for value in found["similarity"].to_pylist())


@settings(max_examples=20)
@given(shown=works, data=st.data())
def test_neither_order_nor_names_matter(shown, data):
    names = [f"i{n}" for n in range(len(shown))]
    renamed = data.draw(st.permutations(names))
    back = dict(zip(renamed, names, strict=True))
    found = partition(of_uploads(shown, renamed))
    assert {frozenset(back[n] for n in group) for group in found} == partition(
        of_uploads(shown, names)
    )
    order = data.draw(st.permutations(range(len(shown))))
    rows = [upload(work, copy) for copy, work in enumerate(shown)]
    items, media = catalogue(names, [row["sha256"] for row in rows])
    shuffled = [table.take(pa.array(order)) for table in (items, media, prints(rows, names))]
    assert find(*shuffled, None, CONFIG).equals(of_uploads(shown, names))


def test_the_first_published_names_the_group_else_the_smallest_id():
    days = [datetime(2024, 1, day, tzinfo=UTC) for day in (3, 2)]
    items, media = catalogue(["a", "b", "c"], ["0", "0", "0"], [*days, None])
    found = find(items, media, prints([]), None, CONFIG)
    assert found.to_pydict() == {
        "item_id": ["a", "b", "c"],
        "group": ["b", "b", "b"],
        "kind": ["content"] * 3,
        "similarity": [1.0] * 3,
    }
    undated = find(*catalogue(["b", "a"], ["0", "0"]), prints([]), None, CONFIG)
    assert undated["group"].to_pylist() == ["a", "a"]


def test_ties_are_closed_through_others():
    near, far = upload(0, 1), upload(0, 2)
    rows = [upload(0, 0), near, far | {"sha256": "x"}]
    rows[2]["frames"], rows[2]["sound"] = near["frames"], []
    items, media = catalogue(["a", "b", "c"], [row["sha256"] for row in rows])
    found = find(items, media, prints(rows), None, CONFIG)
    assert found["group"].to_pylist() == ["a", "a", "a"]
    assert found["kind"].to_pylist() == ["frames and sound", "frames and sound", "frames"]


@pytest.mark.parametrize("other", ["frames", "sound"])
def test_what_both_can_be_compared_in_must_agree(other):
    rows = [upload(0, 0), upload(0, 1)]
    rows[1][other] = upload(1, 0)[other]
    items, media = catalogue(["a", "b"], [row["sha256"] for row in rows])
    alike = Content(Vocabulary.of(["a", "b"]), {"sound_moments@1": np.ones((2, 1), np.float32)})
    assert not len(find(items, media, prints(rows), alike, CONFIG))


def test_an_excerpt_is_no_duplicate():
    whole = upload(0, 0) | {"frames": []}
    part = whole | {"sha256": "part", "sound": whole["sound"][: WORDS // 2]}
    items, media = catalogue(["a", "b"], ["00000", "part"])
    assert not len(find(items, media, prints([whole, part]), None, CONFIG))


def test_what_lasts_much_longer_is_no_duplicate():
    rows = [upload(0, 0) | {"sound": []}, upload(0, 1) | {"sound": []}]
    items, media = catalogue(["a", "b"], [row["sha256"] for row in rows])
    for seconds, count in ((6.0, 2), (5.9, 0), (None, 2)):
        column = pa.array([10.0, seconds], pa.float64())
        timed = media.drop_columns("duration_seconds").append_column("duration_seconds", column)
        assert len(find(items, timed, prints(rows), None, CONFIG)) == count


def test_black_frames_and_silence_tie_nothing():
    mute = {"frames": np.zeros(6, np.uint64), "frame_seconds": np.zeros(6), "sound": [0] * WORDS}
    rows = [mute | {"sha256": name} for name in "xyz"]
    items, media = catalogue(["a", "b", "c"], list("xyz"))
    alike = Content(Vocabulary.of(["a", "b", "c"]), {"sound_moments@1": np.ones((3, 1), "f4")})
    assert not len(find(items, media, prints(rows), alike, CONFIG))


def test_a_sound_of_a_second_is_enough_and_of_less_its_vectors_decide():
    second, less = ({"frames": [], "sound": upload(0, c)["sound"][: 9 + c]} for c in (1, 0))
    rows = [upload(0, copy) | second | {"sha256": f"{copy}"} for copy in range(2)]
    items, media = catalogue(["a", "b"], ["0", "1"])
    found = find(items, media, prints(rows), None, CONFIG)
    assert found["kind"].to_pylist() == ["sound", "sound"]
    rows = [row | less for row in rows]
    assert not len(find(items, media, prints(rows), None, CONFIG))
    alike = Content(Vocabulary.of(["a", "b"]), {"sound_moments@1": np.ones((2, 1), np.float32)})
    found = find(items, media, prints(rows), alike, CONFIG)
    assert found["kind"].to_pylist() == ["vectors", "vectors"]


def test_without_fingerprints_near_vectors_decide():
    items, media = catalogue(list("abcd"), list("wxyz"))
    vectors = unit(np.array([[1, 0], [1, 0.01], [1, 1], [0, 0]], np.float32))
    for name, count in (("picture_moments@1", 2), ("word_hashes@1", 0)):
        content = Content(Vocabulary.of(list("abcd")), {name: vectors})
        found = find(items, media, prints([]), content, CONFIG)
        assert found["item_id"].to_pylist() == list("ab")[:count]
        assert set(found["kind"].to_pylist()) <= {"vectors"}


def test_broken_files_and_items_without_any_are_alone():
    items, media = catalogue(["a", "b", "c"], ["0", "0", None])
    broken = pa.array(["truncated: no index", None, None], pa.string())
    media = conform(media.drop_columns("error").append_column("error", broken), MEDIA)
    assert not len(find(items, media, prints([]), None, CONFIG))
    nothing = find(ITEMS.empty_table(), MEDIA.empty_table(), prints([]), None, CONFIG)
    assert nothing.schema == DUPLICATES


def test_a_work_uploaded_a_hundred_times_is_one_group():
    shown = [0] * 100 + [1, 2]
    found = of_uploads(shown, [f"i{n:03}" for n in range(len(shown))])
    assert [len(group) for group in partition(found)] == [100]


def test_groups_as_rows_of_a_catalogue_that_may_lack_some():
    table = pa.table(
        {
            "item_id": ["b", "d", "x", "e"],
            "group": ["x", "x", "x", "gone"],
            "kind": ["content"] * 4,
            "similarity": np.ones(4, np.float32),
        }
    )
    rows = groups(conform(table, DUPLICATES), Vocabulary.of(list("abcde")))
    assert rows.tolist() == [0, 1, 2, 1, 4]
    assert not len(groups(DUPLICATES.empty_table(), Vocabulary.of([])))


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"min_sound": 0}, r"min_sound must be in \(0, 1\], got 0"),
        ({"reach": 0}, "reach must be at least 1, got 0"),
        ({"encoders": {"clap": 2.0}}, r"encoders\.clap must be in \(0, 1\], got 2"),
    ],
)
def test_impossible_settings_are_refused(setting, message):
    with pytest.raises(ValueError, match=message):
        DuplicatesConfig(**setting)
