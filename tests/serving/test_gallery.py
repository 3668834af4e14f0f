"""What the page plays of items that came after the bundle."""

import pyarrow as pa
import pytest

from avrec.errors import ArtifactError
from avrec.schema import MEDIA, THUMBNAILS
from avrec.serving.board import Note
from avrec.serving.catalogue import Catalogue, Entry, name_of, text_of
from avrec.serving.page.gallery import EMPTY, Galleries, Gallery


@pytest.fixture
def play(tmp_path):
    """Tell a replica what became of an item, and what of it can be played."""
    catalogue = Catalogue(None, [str(tmp_path)])
    old = [{"item_id": "old", "uri": str(tmp_path / "old.mp4"), "kind": "video"}]
    gallery = Gallery(pa.Table.from_pylist(old, schema=MEDIA), THUMBNAILS.empty_table(), catalogue)

    def told(item_id, status="ready", **found):
        entry = Entry(item_id=item_id, status=status, put_at="", **found)
        catalogue.take(Note(name_of(item_id), 1, text_of(entry)))
        medium = gallery.medium(item_id)
        return medium and (medium.place.path, medium.kind, medium.seconds)

    return told


def test_a_file_is_played_when_it_was_read_as_media(play, tmp_path):
    uri = str(tmp_path / "new.wav")
    item, found = {"uri": uri}, {"good_uri": uri, "kind": "audio", "duration_seconds": 2.0}
    assert play("new", "waiting", item=item) is None
    assert play("new", item=item, **found) == (uri, "audio", 2.0)
    assert play("old", item=item, **found) == (uri, "audio", 2.0)
    assert play("old", "waiting", item={"uri": f"{uri}2"}, **found) is None
    assert play("old", "failed", item=item) is None
    assert play("old", "deleted") is None


def test_where_nothing_is_said_of_a_file_the_bundle_s_is_played(play, tmp_path):
    assert play("old", item={"title": "another"}) == (str(tmp_path / "old.mp4"), "video", None)
    assert play("new", item={"title": "another"}) is None


def test_a_file_elsewhere_is_not_given_out(play):
    for uri in ("/etc/hostname", "https://elsewhere.example/x.mp4"):
        assert play("new", item={"uri": uri}, good_uri=uri, kind="video") is None


def test_another_bundle_brings_another_gallery():
    found = [Gallery(MEDIA.empty_table(), THUMBNAILS.empty_table()), EMPTY]

    def read():
        if not found:
            raise ArtifactError("no such workspace")
        return found.pop()

    galleries = Galleries(read)
    assert galleries.of("v1") is galleries.of("v1") is EMPTY
    second = galleries.of("v2")
    assert second is not EMPTY
    assert galleries.of("v3") is second
    assert galleries.is_of("v3")
