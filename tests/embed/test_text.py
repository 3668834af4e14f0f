import pyarrow as pa

from avrec.arrays import unit
from avrec.embed.text import WordHashes, texts
from avrec.schema import DESCRIPTIONS, ITEMS, conform


def test_what_was_understood_comes_after_what_is_sure():
    items = conform(
        pa.table({"item_id": ["a", "b"], "title": ["A", "B"], "tags": [["x"], []]}), ITEMS
    )
    row = {"item_id": "a", "producer": "m@1", "topics": ["music", "news"], "mood": "calm"}
    row |= {"transcript": "one two", "caption": "A dog."}
    described = pa.Table.from_pylist([row], schema=DESCRIPTIONS)
    assert texts(items, described) == ["A\nx\nmusic, news, calm\nA dog.\none two", "B"]
    assert texts(items) == ["A\nx", "B"]


def test_an_item_is_found_by_what_is_said_in_it():
    titles = {"item_id": ["1", "2"], "title": ["rec0001", "rec0002"]}
    rows = [
        {"item_id": one, "producer": "m@1", "transcript": said}
        for one, said in (("1", "how to bake bread at home"), ("2", "the news of the stock market"))
    ]
    described = pa.Table.from_pylist(rows, schema=DESCRIPTIONS)
    encoder = WordHashes()
    said = unit(encoder.encode(texts(conform(pa.table(titles), ITEMS), described)))
    asked = unit(encoder.encode(["bake bread", "stock market news"]))
    assert (asked @ said.T).argmax(axis=1).tolist() == [0, 1]
