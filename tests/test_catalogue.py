import pyarrow as pa
import pytest

from avrec import tabular
from avrec.catalogue import merge, read_items, readable
from avrec.errors import InputError
from avrec.schema import ITEMS, MEDIA


def media(*paths, root="/clips"):
    rows = [{"item_id": path, "uri": f"{root}/{path}"} for path in paths]
    return pa.Table.from_pylist(rows, schema=MEDIA)


def items(*rows):
    return pa.Table.from_pylist([{"title": "t"} | row for row in rows], schema=ITEMS)


def joined(known, found):
    catalogue = merge(known, found)
    owned = {row["item_id"]: row["uri"] for row in catalogue.items.to_pylist()}
    assert catalogue.items["item_id"].to_pylist() == sorted(owned)
    assert set(catalogue.media["item_id"].to_pylist()) <= owned.keys()
    return owned


@pytest.mark.parametrize(
    "item",
    [
        {"item_id": "7", "uri": "/clips/deep/song.ogg"},
        {"item_id": "7", "uri": "deep/song.ogg"},
        {"item_id": "7", "uri": "song.ogg"},
        {"item_id": "7", "uri": "song.mp3"},
        {"item_id": "song.ogg"},
        {"item_id": "song"},
        {"item_id": "deep/song.ogg"},
    ],
)
def test_a_file_finds_its_item(item):
    assert joined(items(item), media("deep/song.ogg")) == {item["item_id"]: "/clips/deep/song.ogg"}


def test_a_name_that_two_files_share_matches_none():
    owned = joined(items({"item_id": "song"}), media("a/song.ogg", "b/song.ogg"))
    assert owned["song"] is None
    assert len(owned) == 3


def test_files_of_no_item_become_items_with_readable_titles():
    catalogue = merge(None, media("birds/Snow_goose-02.ogg"))
    (row,) = catalogue.items.to_pylist()
    assert (row["item_id"], row["title"]) == ("birds/Snow_goose-02.ogg", "Snow goose 02")
    assert readable("...") == "..."


def test_items_of_no_file_stay():
    assert joined(items({"item_id": "1"}), media()) == {"1": None}


def test_an_id_that_another_file_has_taken_is_not_used_twice():
    known = items({"item_id": "a.ogg", "uri": "b.ogg"})
    owned = joined(known, media("a.ogg", "b.ogg"))
    assert owned == {"a.ogg": "/clips/b.ogg", "/clips/a.ogg": "/clips/a.ogg"}


def test_neither_items_nor_files_is_an_error():
    with pytest.raises(InputError, match=r"media\.inputs"):
        merge(None, media())


def test_files_that_are_all_broken_are_an_error_that_says_why():
    found = media("a.mp4", "b.mp4").to_pylist()
    broken = [row | {"error": "truncated: no index"} for row in found]
    table = pa.Table.from_pylist(broken, schema=MEDIA)
    with pytest.raises(InputError, match=r"none of the 2 files.*a\.mp4 \(truncated: no index\)"):
        merge(None, table)
    assert len(merge(items({"item_id": "1"}), table).items) == 3
    assert len(merge(None, pa.concat_tables([table, media("c.mp4")])).items) == 3


def test_reads_csv_with_other_names(tmp_path):
    path = tmp_path / "movies.csv"
    path.write_text(
        "movieId,name,genres,out\n007,Gold,Action| Spy ,2020-01-02\n8,,,\n007,Twice,,\n"
    )
    columns = {"item_id": "movieId", "title": "name", "tags": "genres", "published_at": "out"}
    table = read_items(str(path), columns)
    first, second = table.to_pylist()
    assert (first["item_id"], first["title"], first["tags"]) == ("007", "Gold", ["Action", "Spy"])
    assert first["published_at"].isoformat() == "2020-01-02T00:00:00+00:00"
    assert (second["item_id"], second["title"]) == ("8", "8")


def test_reads_json_lines_and_compressed_csv(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"item_id": 5, "title": "x", "tags": ["a", "b"]}\n')
    assert read_items(str(tmp_path / "a.jsonl"), {}).to_pylist()[0]["tags"] == ["a", "b"]
    with pa.output_stream(str(tmp_path / "a.csv.gz"), compression="gzip") as sink:
        sink.write(b"item_id,title\n5,x\n")
    assert read_items(str(tmp_path / "a.csv.gz"), {})["item_id"].to_pylist() == ["5"]


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"item_id": "movieId"}, "no column 'movieId'.*id"),
        ({}, "no column 'item_id'"),
        ({"itemid": "id"}, "itemid"),
        ({"item_id": "id", "published_at": "when"}, "soon"),
    ],
)
def test_wrong_columns_are_named(tmp_path, columns, words):
    (tmp_path / "a.csv").write_text("id,when\n1,soon\n")
    with pytest.raises(InputError, match=words):
        read_items(str(tmp_path / "a.csv"), columns)


@pytest.mark.parametrize(("name", "content"), [("a.parquet", b"no"), ("a.jsonl", b"{"), ("a", b"")])
def test_what_is_no_table_is_said_so(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=r"cannot read|must end"):
        tabular.read(str(tmp_path / name))
    with pytest.raises(InputError, match=r"does not exist|must end"):
        tabular.read(str(tmp_path / "absent" / name))
