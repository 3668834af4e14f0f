import argparse
import gzip
from dataclasses import replace

import numpy as np
import pytest

from jobs import benchmark_towers_compression as compression


@pytest.fixture
def arguments(tmp_path, rng):
    """Sixty users of two tastes, one file of the set; nothing that an earlier run left."""
    folder = tmp_path / compression.NAME
    folder.mkdir()
    with gzip.open(folder / "ml-1m.txt.gz", "wt") as file:
        for user in range(60):
            liked = rng.permutation(np.arange(user % 2, 60, 2))[:12]
            file.writelines(f"{user + 1} {item + 1}\n" for item in liked)
    return argparse.Namespace(data=tmp_path, runs=tmp_path, threads=1, seeds=[0])


def test_quality_is_told_by_how_few_bytes_there_are(arguments, monkeypatch, capsys):
    short = replace(compression.SHORT, dim=32, history_length=12, epochs=6)
    monkeypatch.setattr(compression, "SHORT", short)
    found = {line["figure"].split(": ")[1]: line for line in compression.run(arguments)}
    assert "a smaller one is trained" in capsys.readouterr().out
    rounded = [line for name, line in found.items() if "8 bits" in name]
    assert len(rounded) == 2 + len(compression.LEFT_OUT)
    assert found["als, item vectors, 8 bits, 0.266 of the bytes"]["value"] == pytest.approx(
        1, abs=0.1
    )
    assert len(found) == len(rounded) + 2 * len(compression.PARTS)
    sizes = [float(name.split(", ")[-1].split(" ")[0]) for name in found if "network" in name]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] < 0.6


def test_an_absent_set_is_said(tmp_path, capsys):
    assert list(compression.run(argparse.Namespace(data=tmp_path))) == []
    assert "SKIPPED: there is no ml-1m-sasrec" in capsys.readouterr().out
