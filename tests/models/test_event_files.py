import struct

from tensorboardX.proto.event_pb2 import Event
from tensorboardX.record_writer import masked_crc32c

from avrec.models import event_files
from avrec.models.event_files import event_file
from avrec.store import Recipe, Workspace

CURVE = [
    {"loss": 2.0, "seconds": 3.0, "score": 0.25},
    {"loss": 1.5, "seconds": 4.0, "score": 0.5},
]


def events(content):
    """What a reader of TFRecords finds; it refuses a wrong sum."""
    while content:
        length, of_length = struct.unpack("<QI", content[:12])
        record, (of_record,) = (
            content[12 : 12 + length],
            struct.unpack("<I", content[12 + length :][:4]),
        )
        assert (of_length, of_record) == (masked_crc32c(content[:8]), masked_crc32c(record))
        yield Event.FromString(record)
        content = content[16 + length :]


def test_an_epoch_is_a_step_with_what_the_curve_has_of_it():
    head, *steps = events(event_file(CURVE, now=100.0))
    assert (head.file_version, head.wall_time) == ("brain.Event:2", 93)
    assert [(step.step, step.wall_time) for step in steps] == [(1, 96), (2, 100)]
    values = [{v.tag: v.simple_value for v in step.summary.value} for step in steps]
    assert values == [
        {"loss": 2.0, "seconds": 3.0, "validation/ndcg@10": 0.25},
        {"loss": 1.5, "seconds": 4.0, "validation/ndcg@10": 0.5},
    ]


def test_no_epochs_are_a_file_without_steps():
    assert len(list(events(event_file([], now=100.0)))) == 1


def test_it_lies_beside_the_model_under_a_name_that_tensorboard_looks_for(tmp_path):
    workspace = Workspace(str(tmp_path))
    with workspace.create("towers", Recipe({}, {})) as draft:
        event_files.write(CURVE, draft, now=100.0)
    found = workspace.open("towers")
    [name] = found.names("events.out.tfevents.")
    assert found.bytes(name) == event_file(CURVE, now=100.0)


def test_epochs_that_are_written_as_they_end_are_read_in_their_order(tmp_path):
    place = Workspace(str(tmp_path)).root / "run"
    for step, epoch in enumerate(CURVE, 1):
        event_files.write_epoch(step, epoch, place, now=100.0 + step)
    files = sorted((tmp_path / "run").iterdir())
    assert all(file.name.startswith("events.out.tfevents.") for file in files)
    (_, first), (_, second) = (events(file.read_bytes()) for file in files)
    assert [(one.step, one.wall_time) for one in (first, second)] == [(1, 101), (2, 102)]
    assert [one.summary.value[0].simple_value for one in (first, second)] == [2.0, 1.5]
