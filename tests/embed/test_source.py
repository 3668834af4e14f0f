"""Where a model comes from."""

from pathlib import Path

import pytest
import transformers

from avrec.embed.source import Source
from tests.embed import models

MAPS = Path("/proc/self/maps")


@pytest.mark.skipif(not MAPS.exists(), reason="needs /proc to see what memory is mapped to")
def test_weights_stay_in_the_mapped_file_that_all_processes_of_a_node_share(tmp_path):
    folder = models.make(models.bert, tmp_path / "random")
    model = Source(str(folder), "", 1, "cpu").model_from(transformers.AutoModel, ("pooler.",))
    spans = [
        [int(end, 16) for end in line.split()[0].split("-")]
        for line in MAPS.read_text().splitlines()
        if line.endswith(str(folder / "model.safetensors"))
    ]
    for weights in model.parameters():
        assert any(start <= weights.data_ptr() < stop for start, stop in spans)
