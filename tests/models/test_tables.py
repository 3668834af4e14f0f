import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st

from avrec.models import row_files, tables
from avrec.models.tables import owned, shards, table
from avrec.models.training import Crew, seeded
from tests.models.crews import crews, together

NUM_ROWS, DIM, STD = 10, 4, 0.5


def made(crew=None, num_rows=NUM_ROWS):
    return seeded(lambda: table(num_rows, DIM, STD, crew), seed=3)


@given(num_rows=st.integers(0, 40), size=st.integers(1, 9))
def test_every_row_has_one_owner(num_rows, size):
    spans = [owned(num_rows, Crew(rank, size)) for rank in range(size)]
    assert [row for span in spans for row in span] == list(range(num_rows))
    full = [span for span in spans if span]
    assert full == [owned(num_rows, Crew(rank, len(full))) for rank in range(len(full))]


@pytest.mark.parametrize("num_rows", [3, 32, 33, 50, 64])
@pytest.mark.parametrize("size", [1, 2, 3, 40])
def test_shards_are_the_rows_of_the_whole_table(monkeypatch, num_rows, size):
    """Also where it is drawn in several pieces."""
    monkeypatch.setattr(tables, "PIECE", 16)
    whole = made(num_rows=num_rows).weight
    parts = [made(Crew(rank, size), num_rows).weight for rank in range(size)]
    torch.testing.assert_close(torch.cat(parts), whole, rtol=0, atol=0)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_lookups_and_mean_gradients_are_those_of_the_whole_table(size):
    """Workers ask for different rows, some twice, and some for none of another worker's."""
    asked = [torch.tensor(rows) for rows in ([9, 0, 3, 3], [1], [7, 8, 0])][:size]
    pull = [torch.randn(len(rows), DIM) for rows in asked]
    whole, members = made(), crews(size)
    nets = [made(crew) for crew in members]

    def work(crew):
        found = nets[crew.rank](asked[crew.rank])
        (found * pull[crew.rank]).sum().backward()
        return found.detach()

    found = together(work, members)
    for rows, vectors, weights in zip(asked, found, pull, strict=True):
        torch.testing.assert_close(vectors, whole.weight[rows].detach(), rtol=0, atol=0)
        ((whole(rows) * weights).sum() / size).backward()
    gradient = torch.cat([net.weight.grad for net in nets])
    torch.testing.assert_close(gradient, whole.weight.grad)


def test_a_network_names_its_shards():
    net = torch.nn.ModuleDict({"ids": made(Crew(1, 3)), "other": torch.nn.Linear(2, 2)})
    assert shards(net) == {"ids.weight": range(4, 8)}
    assert shards(torch.nn.ModuleDict({"ids": made()})) == {}


def files(*spans):
    """Files of a checkpoint whose value in row `n` is `n`."""
    return {"training.safetensors": b""} | {
        row_files.file_name(span): safetensors.torch.save(
            {"net.ids": torch.tensor(span)[:, None].float(), "step.ids": torch.tensor(5.0)}
        )
        for span in spans
    }


@given(start=st.integers(0, 10), count=st.integers(0, 10))
def test_any_rows_are_read_from_the_files_that_have_them(start, count):
    rows = range(start, min(start + count, 10))
    found = row_files.read_rows(files(range(4, 8), range(4), range(8, 10)), rows)
    assert found["net.ids"][:, 0].tolist() == list(rows)
    assert found["step.ids"] == 5
    assert row_files.read_rows(files(), rows) == {}


def test_a_file_without_wanted_rows_is_not_read():
    class Watched(dict):
        def __getitem__(self, name):
            read.append(name)
            return super().__getitem__(name)

    read = []
    row_files.read_rows(Watched(files(range(4), range(4, 8), range(8, 10))), range(5, 7))
    assert read == [row_files.file_name(range(4, 8))]


def test_size_is_that_of_float32():
    assert tables.size_mb(1 << 20, 64) == 256
    assert np.isclose(tables.size_mb(1, 1), 4 / 2**20)
