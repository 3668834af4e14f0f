"""Captioners of real classes with random weights: they say something, and it means nothing."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import transformers

from avrec.embed.describe.captions import Captioner
from avrec.embed.describe.describer import found, key
from avrec.embed.describe.language_config import CaptionsConfig
from avrec.errors import InputError
from avrec.media.decode import Clip
from avrec.media.sampling import Span
from avrec.schema import CAPTIONS

pytest.importorskip("PIL", reason="processors of pictures need Pillow")
pytestmark = pytest.mark.filterwarnings("ignore:.*swigvarlink.*:DeprecationWarning")
SIZES = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
SIZES |= {"num_attention_heads": 2}
SIDE = {"height": 32, "width": 32}


def save_blip(folder):
    torch.manual_seed(0)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "dog", "cat", "plays", "sleeps"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(words))
    tokenizer = transformers.BertTokenizerFast(str(folder / "vocab.txt"))
    ids = {"bos_token_id": 2, "sep_token_id": 3, "eos_token_id": 3, "pad_token_id": 0}
    text = SIZES | ids | {"vocab_size": len(words), "max_position_embeddings": 32}
    config = transformers.BlipConfig(
        text_config=text | {"encoder_hidden_size": 16, "initializer_range": 0.5},
        vision_config=SIZES | {"image_size": 32, "patch_size": 16},
        projection_dim=8,
    )
    pictures = transformers.BlipImageProcessorPil(size=SIDE)
    transformers.BlipProcessor(pictures, tokenizer).save_pretrained(folder)
    transformers.BlipForConditionalGeneration(config).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def blip(tmp_path_factory):
    return CaptionsConfig(model=save_blip(tmp_path_factory.mktemp("blip")), max_new_tokens=6)


def clip(num_frames: int) -> Clip:
    frames = np.random.default_rng(0).integers(0, 255, (num_frames, 24, 32, 3), dtype=np.uint8)
    return Clip(
        duration_seconds=4.0,
        frames=frames,
        frame_seconds=np.linspace(0, 3.9, num_frames),
        waveform=np.zeros(0, np.float32),
        spans=(Span(0.0, 2.0), Span(2.0, 4.0)),
    )


def test_a_clip_gets_one_caption_the_same_every_time(blip):
    captioner = Captioner(blip)
    table = captioner.describe(clip(4))
    assert table.schema == found(CAPTIONS)
    assert table.equals(captioner.describe(clip(4)))
    (row,) = table.to_pylist()
    assert (row["start_seconds"], row["stop_seconds"]) == (0.0, 4.0)
    assert set(row["text"].split()) <= {"a", "dog", "cat", "plays", "sleeps", "[UNK]"}


def test_segments_get_their_own_captions_where_asked(blip):
    each = Captioner(replace(blip, every_segment=True))
    assert each.describe(clip(4))["start_seconds"].to_pylist() == [0.0, 2.0]
    assert key(each) != key(Captioner(blip))


def test_a_clip_without_pictures_gets_none(blip):
    assert len(Captioner(blip).describe(clip(0))) == 0


def test_a_folder_that_holds_no_captioner_is_said_so(tmp_path):
    with pytest.raises(InputError, match="to write captions"):
        Captioner(CaptionsConfig(model=str(tmp_path)))
