"""What becomes of a frame before a picture model sees it."""

import json

import numpy as np
import pytest
import torch
import transformers

from avrec.embed.image_models import Preparation

SHAPES = [(360, 640), (640, 360), (224, 398), (300, 400), (100, 80), (501, 333)]


def picture(height, width):
    rows, columns = np.mgrid[:height, :width]
    waves = [np.sin(columns / 17 + shift) * np.cos(rows / 23 - shift) for shift in range(3)]
    return (127 + 120 * np.stack(waves, axis=-1)).astype(np.uint8)


@pytest.mark.parametrize("name", ["CLIPImageProcessorPil", "SiglipImageProcessorPil"])
@pytest.mark.parametrize("shape", SHAPES)
def test_is_what_the_processor_of_transformers_gives(name, shape):
    pytest.importorskip("PIL")
    processor = getattr(transformers, name)()
    expected = processor(picture(*shape), return_tensors="pt")["pixel_values"]
    prepared = Preparation(json.loads(processor.to_json_string()), None)([picture(*shape)])
    levels = (prepared - expected).abs() * 255 * torch.tensor(processor.image_std).view(3, 1, 1)
    assert levels.max() <= 2.5
    assert levels.mean() < 0.05


def test_frames_of_several_sizes_are_prepared_as_each_alone():
    prepare = Preparation({"size": {"shortest_edge": 32}, "do_center_crop": True}, 32)
    frames = [picture(*shape) for shape in ((40, 60), (32, 32), (40, 60), (90, 31))]
    alone = torch.cat([prepare([frame]) for frame in frames])
    torch.testing.assert_close(prepare(frames), alone, rtol=0, atol=0)
    assert prepare([]).shape == (0, 3, 32, 32)
