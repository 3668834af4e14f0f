import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch

from avrec import tensors
from avrec.tensors import streamed

MANY = {
    "bytes": np.arange(5, dtype=np.uint8),
    "truths": np.array([True, False, True]),
    "rows": np.arange(12, dtype=np.float32).reshape(4, 3),
    "turned": np.arange(12, dtype=np.float64).reshape(4, 3).T,
    "half": np.array([0.5], np.float16),
    "number": np.array(7, np.int64),
    "none": np.zeros((0, 4), np.float32),
}


@pytest.mark.parametrize("piece", [5, 1 << 24])
def test_the_library_reads_what_was_streamed(monkeypatch, piece):
    monkeypatch.setattr(tensors, "PIECE_BYTES", piece)
    parts = list(streamed(MANY))
    assert max(len(part) for part in parts[1:]) <= piece
    found = safetensors.numpy.load(b"".join(parts))
    assert found.keys() == MANY.keys()
    for name, values in MANY.items():
        assert found[name].dtype == values.dtype
        np.testing.assert_array_equal(found[name], values)
    assert safetensors.torch.load(b"".join(parts))["turned"].tolist() == MANY["turned"].tolist()


def test_no_tensors_are_a_file_too():
    assert safetensors.numpy.load(b"".join(streamed({}))) == {}
