"""The page over worlds of a few items, down to a catalogue of nothing else."""

import re
from datetime import UTC, datetime
from html.parser import HTMLParser

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from avrec.embed import pool
from avrec.embed.pool import Content
from avrec.embed.stats import Lane, Report
from avrec.errors import ArtifactError
from avrec.report import maps
from avrec.report.findings import ReportConfig, drawn, gather
from avrec.report.html import tag
from avrec.report.page import SECTIONS, render
from avrec.schema import (
    DESCRIPTIONS,
    DUPLICATES,
    ITEMS,
    MEDIA,
    METRICS,
    QUARANTINE,
    SEGMENT_LABELS,
    THUMBNAILS,
    TRIALS,
)
from avrec.store import Recipe, Workspace
from avrec.vocab import Vocabulary

AT = datetime(2024, 1, 1, tzinfo=UTC)
HOSTILE = "</style><script>alert(1)</script><img src=x onerror='alert(2)'>\"&\x00\ud800"
IDS = ["a", "b", HOSTILE.replace("\x00", "").replace("\ud800", "")]
JPEG = b"\xff\xd8\xff\xd9"
NOTHING = Recipe({}, {})
CURVE = [{"loss": n, "seconds": 1.0, "score": 1 / n} for n in (4.0, 2.0, 3.0)]


class Elements(HTMLParser):
    """Names, attributes and text of a page, as a browser would read them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open, self.found, self.text = [], [], []
        self.feed(page)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def write(workspace: Workspace, name: str, rows: list[dict], schema: pa.Schema) -> None:
    workspace.write_table(name, pa.Table.from_pylist(rows, schema=schema), schema, NOTHING)


@pytest.fixture
def catalogue(tmp_path) -> Workspace:
    workspace = Workspace(str(tmp_path))
    titles = ["A < B", "Second", HOSTILE.replace("\ud800", "")]
    rows = [{"item_id": i, "title": t, "tags": [t]} for i, t in zip(IDS, titles, strict=True)]
    write(workspace, "items", rows, ITEMS)
    return workspace


@pytest.fixture
def whole(catalogue) -> Workspace:
    """A workspace in which every job has run."""
    media = [{"item_id": i, "uri": i, "kind": "video", "duration_seconds": 61.0} for i in IDS]
    write(catalogue, "media", media, MEDIA)
    write(catalogue, "thumbnails", [{"item_id": i, "image": JPEG} for i in IDS], THUMBNAILS)
    write(
        catalogue,
        "quarantine",
        [{"item_id": IDS[2], "uri": HOSTILE[:9], "stage": "decode", "kind": "truncated",
          "message": "<b>no index</b>"}],
        QUARANTINE,
    )  # fmt: skip
    copies = [{"item_id": i, "group": "a", "kind": "frames", "similarity": 0.9} for i in "ba"]
    write(catalogue, "duplicates", copies, DUPLICATES)
    described = {"item_id": "a", "producer": "lm@1", "summary": "A dog <barks>", "safety": ["gore"]}
    write(catalogue, "descriptions", [described], DESCRIPTIONS)
    label = {"item_id": "a", "producer": "m@1", "start_seconds": 0, "stop_seconds": 1}
    label |= {"kind": "sound_event", "label": "Bark", "score": 0.8}
    write(catalogue, "segment_labels", [label], SEGMENT_LABELS)
    metric = {"model": "als", "split": "test", "metric": "recall", "k": 5, "num_users": 3}
    values = [
        metric | {"value": 0.25, "low": 0.2, "high": 0.3},
        metric | {"model": "b", "value": 0.5},
    ]
    write(catalogue, "metrics", values, METRICS)
    trial = {"trial": "1", "setting": '{"als.reg": 0.1}', "metric": "ndcg", "k": 5, "rounds": 1}
    write(
        catalogue, "trials", [trial | {"stopped_early": False, "seconds": 1, "value": 0.1}], TRIALS
    )
    stats = Report({"decode": Lane("children", 2)}, wall_seconds=10.0)
    amounts = {"seconds": 18.0, "cpu_seconds": 9.0, "files": 3, "media_seconds": 3600.0}
    stats.add({"decode": amounts, "sound@1": {"seconds": 1.0}}, {"truncated": 1})
    with catalogue.create("embed_stats", NOTHING) as draft:
        draft.add_json("stats.json", stats.to_json())
    with catalogue.create("towers", NOTHING) as draft:
        draft.add_json("towers.json", {"curve": CURVE})
    vocabulary = Vocabulary.of(IDS)
    with catalogue.create("content", NOTHING) as draft:
        vectors = np.eye(3, dtype=np.float32)
        pool.save(Content(vocabulary, {"sound@1": vectors}), draft)
    return catalogue


def page_of(workspace: Workspace, **settings: int) -> str:
    return render(gather(workspace, ReportConfig(**settings)), AT)


def test_every_section_is_there_when_every_job_has_run(whole):
    read = Elements(page_of(whole))
    sections = [attributes["id"] for name, attributes in read.found if name == "section"]
    assert sections == list(SECTIONS)
    text = " ".join(read.text)
    for words in ("decode", "starves the others: busy 90\xa0%", "A dog <barks>", "may harm: gore"):
        assert words in text
    for words in (
        "Bark",
        "<b>no index</b>",
        "frames 90\xa0% alike",
        "0.250 ±0.050",
        "1:01",
        "A < B",
    ):
        assert words in text


def test_a_catalogue_alone_gives_a_page(catalogue):
    read = Elements(page_of(catalogue))
    assert [a["id"] for name, a in read.found if name == "section"] == ["items"]


def test_without_a_catalogue_it_says_which_job_to_run(tmp_path):
    with pytest.raises(ArtifactError, match="no finished 'items'"):
        gather(Workspace(str(tmp_path)), ReportConfig())


def test_the_file_asks_for_nothing_and_runs_nothing(whole):
    read = Elements(page_of(whole))
    policy = next(a["content"] for _, a in read.found if "http-equiv" in a)
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'sha256-")
    allowed = {"a", "img", "meta", "style", "svg", "title"}
    assert not {name for name, _ in read.found} & {"script", "iframe", "object", "link", "base"}
    for name, attributes in read.found:
        assert not [key for key in attributes if key.startswith("on") or key == "style"]
        links = [attributes[key] for key in ("src", "href") if key in attributes]
        assert all(link.startswith(("data:image/", "#")) for link in links)
        assert name in allowed or not links


def test_hostile_words_are_read_and_not_obeyed(whole):
    page = page_of(whole)
    assert "<script" not in page.lower()
    assert page.count("<style>") == page.count("</style>") == 1
    assert "<script>alert(1)</script>" in "".join(Elements(page).text)


@given(text=st.text(st.characters(exclude_categories=[])), name=st.text(max_size=5))
def test_any_text_is_one_text_node_and_one_attribute(text, name):
    read = Elements(tag("p", text, title=text))
    [(element, attributes)] = read.found
    assert element == "p"
    assert set(attributes) == {"title"}
    assert tag("p", text).encode()


@given(ids=st.lists(st.text("abc", min_size=1), unique=True), count=st.integers(1, 5))
def test_a_sample_does_not_depend_on_what_else_there_is(ids, count):
    column = pa.chunked_array([pa.array(sorted(ids), pa.string())])
    chosen = {sorted(ids)[row] for row in drawn(column, count)}
    assert len(chosen) == min(count, len(ids))
    rest = pa.chunked_array([pa.array(sorted(chosen), pa.string())])
    assert len(drawn(rest, count)) == len(chosen)
    fewer = {sorted(ids)[row] for row in drawn(column, 1)}
    assert fewer <= chosen


def test_a_large_catalogue_is_sampled_and_said_so(whole):
    text = " ".join(Elements(page_of(whole, max_items=2, max_points=2)).text)
    assert "2 of 3 items, drawn by the hash of their ids." in text
    assert "2 of 3 items; the axes explain" in text


def test_principal_axes_are_those_of_most_variance(rng):
    plane = maps.principal(rng.normal(size=(200, 5)) * [1, 10, 0.1, 3, 0.1])
    assert plane.points.std(axis=0) == pytest.approx([10, 3], rel=0.25)
    assert plane.explained == pytest.approx([100 / 110, 9 / 110], abs=0.05)
    alone = maps.principal(np.ones((1, 3)))
    assert not alone.points.any()
    assert not alone.explained.any()


def test_an_item_without_tags_has_the_colour_of_its_topic(whole):
    rows = [{"item_id": name, "title": name, "tags": []} for name in IDS]
    write(whole, "items", rows, ITEMS)
    described = {"item_id": IDS[0], "producer": "lm@1", "topics": ["boats", "sea"]}
    write(whole, "descriptions", [described], DESCRIPTIONS)
    assert "boats" in maps.section(gather(whole, ReportConfig()))


def test_a_curve_says_its_best_epoch(whole):
    page = page_of(whole)
    assert page.count('class="curve"') == 2
    text = " ".join(Elements(page).text)
    assert "Loss of the towers by epoch : best 2, in epoch 2" in text
    assert "ndcg@10 of the validation of the towers by epoch : best 0.5, in epoch 2" in text
    assert "epoch 3: 0.333" in text


def test_a_run_without_a_validation_has_a_curve_of_its_loss(whole):
    epochs = [{"loss": 1.0, "seconds": 1.0}]
    with whole.create("towers", NOTHING) as draft:
        draft.add_json("towers.json", {"curve": epochs})
    assert page_of(whole).count('class="curve"') == 1
    with whole.create("towers", NOTHING) as draft:
        draft.add_json("towers.json", {"curve": []})
    assert 'class="curve"' not in page_of(whole)


def test_colours_beyond_the_last_are_other():
    labels, legend = maps.colours([f"tag{n:02}" for n in range(20)])
    assert legend == [*(f"tag{n:02}" for n in range(7)), "other"]
    assert labels[6:9] == [6, 7, 7]


def test_kinds_of_error_come_with_advice(whole):
    page = page_of(whole)
    assert re.search(r"<code>truncated</code> in 1 file.*Upload it again", page)


def test_no_errors_and_no_copies_are_said(catalogue):
    write(catalogue, "quarantine", [], QUARANTINE)
    catalogue.write_table("duplicates", DUPLICATES.empty_table(), DUPLICATES, NOTHING)
    text = " ".join(Elements(page_of(catalogue)).text)
    assert "Every file was read to its end." in text
    assert "No two items are near-duplicates." in text


@pytest.mark.parametrize("name", ["max_items", "max_points", "max_groups", "max_examples"])
def test_impossible_settings_are_refused(name):
    with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
        ReportConfig(**{name: 0})
