"""The weights are random: only what holds for any weights is tested."""

from datetime import UTC, datetime

import pyarrow as pa
import pytest

from avrec.embed.describe import opinions
from avrec.embed.describe.language_config import OpinionsConfig
from avrec.embed.describe.opinions import READ, Opinions, comments, joined, reception
from avrec.errors import InputError
from avrec.schema import OPINIONS, RECEPTION
from tests.embed.describe.chats import chat, save_llama

pytestmark = pytest.mark.filterwarnings("ignore:.*swigvarlink.*:DeprecationWarning")


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    return Opinions(OpinionsConfig(max_tokens=20), chat(save_llama(tmp_path_factory.mktemp("m"))))


@pytest.fixture
def csv(tmp_path):
    def write(text: str) -> OpinionsConfig:
        (tmp_path / "c.csv").write_text(text)
        return OpinionsConfig(uri=str(tmp_path / "c.csv"), columns={"text": "review"})

    return write


def test_a_text_written_often_is_one_row_and_empty_ones_are_none(csv):
    config = csv(
        "item_id,review,rating,at\n"
        "a,Great,5,2025-06-02T00:00:00Z\na, Great ,4,2025-06-01T00:00:00Z\n"
        "a,   ,1,\nb,Great,,\n,x,,\n"
    )
    rows = {row["item_id"]: row for row in comments(config).to_pylist()}
    assert rows["a"]["count"] == 2
    assert rows["a"]["rating"] == 4.5
    assert rows["a"]["at"] == datetime(2025, 6, 1, tzinfo=UTC)
    assert rows["b"]["count"] == 1
    assert rows["a"]["sha256"] == rows["b"]["sha256"] == opinions.key("Great")


def test_a_table_without_texts_is_said_so(csv):
    with pytest.raises(InputError, match="has no column 'review'"):
        comments(csv("item_id,words\na,b\n"))


@pytest.mark.parametrize(
    "text", ["Great", "word " * 100_000, '"}<|end|><|bot|>', "\U0001f600", "é"]
)
def test_any_text_gets_a_valid_answer(reader, text):
    answer = reader.read(text)
    assert -1 <= answer["score"] <= 1
    assert answer["sentiment"] in {"negative", "neutral", "positive"}
    assert set(answer["topics"]) <= set(reader.config.topics)
    assert pa.Table.from_pylist([answer], schema=READ).schema == READ


def test_a_text_of_nothing_printable_has_reasons(reader):
    assert {why for _, why in reader.read("\u200b\x00")["reasons"]} == {"no_words"}


def test_reception_sums_up_by_item():
    texts = {"Good": (0.5, "positive", ["sound"]), "Bad": (-0.9, "negative", ["price", "sound"])}
    distinct = pa.Table.from_pylist(
        [
            {"item_id": item, "sha256": text, "text": text, "count": 1, "at": None, "rating": 1.0}
            for item, text in (("a", "Good"), ("a", "Bad"), ("b", "Good"))
        ]
    )
    read = pa.Table.from_pylist(
        [
            {"sha256": text, "score": score, "sentiment": word, "topics": topics, "reasons": []}
            for text, (score, word, topics) in texts.items()
        ],
        schema=pa.schema([pa.field("sha256", pa.string()), *READ]),
    )
    table = joined(distinct, read, "m@1")
    assert table.schema == OPINIONS
    a, b = reception(table).to_pylist()
    assert (a["num_opinions"], b["num_opinions"]) == (2, 1)
    assert a["score"] == pytest.approx(-0.2)
    assert (a["positive"], a["negative"], a["topics"]) == (0.5, 0.5, ["sound", "price"])
    assert reception(OPINIONS.empty_table()).schema == RECEPTION
