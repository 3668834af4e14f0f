import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from avrec.errors import InputError, MediaError
from avrec.media.fetch import local_copy
from avrec.media.files import expand
from avrec.media.limits import Limits
from avrec.store import join, place


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "clips"
    for name in ("a.mp4", "deep/b.ogg", "deep/b.png", "lone.jpg", "notes.txt", ".hidden.mp4"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())
    return root


def ids(listing):
    return [file.item_id for file in listing.files]


def test_a_folder_gives_paths_below_it(folder):
    listing = expand([str(folder)])
    assert ids(listing) == ["a.mp4", "deep/b.ogg", "lone.jpg"]
    assert listing.num_skipped == 3
    assert listing.files[1].uri == str(folder / "deep/b.ogg")


def test_a_uri_of_the_same_folder_gives_the_same_ids(folder):
    assert ids(expand([folder.as_uri()])) == ids(expand([str(folder)]))


def test_a_file_is_named_by_its_name_and_listed_once(folder):
    assert ids(expand([str(folder / "a.mp4"), str(folder)])) == ["a.mp4", "deep/b.ogg", "lone.jpg"]


def test_a_table_lists_uris_with_or_without_ids(folder):
    (folder / "list.csv").write_text("uri\na.mp4\nhttps://example.org/x.mp4\n")
    assert ids(expand([str(folder / "list.csv")])) == ["a.mp4", "https://example.org/x.mp4"]
    table = pa.table({"uri": ["deep/b.ogg"], "item_id": ["007"]})
    pq.write_table(table, folder / "list.parquet")
    (file,) = expand([str(folder / "list.parquet")]).files
    assert (file.item_id, file.uri) == ("007", str(folder / "deep/b.ogg"))


def test_the_fingerprint_follows_the_files(folder):
    before = expand([str(folder)]).fingerprint
    assert expand([str(folder)]).fingerprint == before
    (folder / "a.mp4").write_bytes(b"another")
    assert expand([str(folder)]).fingerprint != before


def test_wrong_inputs_say_what_to_do(folder, tmp_path):
    (tmp_path / "none").mkdir()
    (tmp_path / "list.csv").write_text("path\nx\n")
    for uri, words in [
        (tmp_path / "absent", "check media.inputs"),
        (tmp_path / "none", "put clips there"),
        (tmp_path / "list.csv", "no column 'uri'.*path"),
        ("nowhere://x/y", "cannot reach"),
    ]:
        with pytest.raises(InputError, match=words):
            expand([str(uri)])


def test_two_files_of_one_name_are_not_mixed_up(folder):
    (folder / "deep/a.mp4").write_bytes(b"other")
    with pytest.raises(InputError, match="folder above both"):
        expand([str(folder), str(folder / "deep")])


def test_bytes_come_from_where_the_uri_says(folder):
    with local_copy(str(folder / "a.mp4"), Limits()) as path:
        assert path.read_bytes() == b"a.mp4"
    for uri, kind in [(str(folder / "gone"), "fetch_failed"), ("https://x.org/a", "fetch_failed")]:
        with pytest.raises(MediaError, match=kind), local_copy(uri, Limits()):
            pass


def test_a_file_above_the_limit_is_not_opened(folder):
    with (folder / "big.mp4").open("wb") as big:
        big.truncate(2 << 20)
    big = local_copy(str(folder / "big.mp4"), Limits(max_file_mb=1))
    with pytest.raises(MediaError, match="too_large"), big:
        pass


def test_an_object_store_is_a_folder_too(s3_uri, folder):
    root = place(s3_uri)
    for name in ("a.mp4", "deep/b.ogg"):
        (root / name).write((folder / name).read_bytes())
    listing = expand([s3_uri])
    assert ids(listing) == ["a.mp4", "deep/b.ogg"]
    assert listing.fingerprint == expand([s3_uri]).fingerprint
    with local_copy(listing.files[1].uri, Limits()) as path:
        assert path.read_bytes() == b"deep/b.ogg"
    with pytest.raises(MediaError, match="fetch_failed"), local_copy(join(s3_uri, "x"), Limits()):
        pass
