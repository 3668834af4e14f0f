"""Captioners of real classes with random weights: they say something, and it means nothing."""

from dataclasses import replace
from importlib.util import find_spec

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
from tests.embed.describe.chats import save_tokenizer

pytest.importorskip("PIL", reason="processors of pictures need Pillow")
pytestmark = pytest.mark.filterwarnings("ignore:.*swigvarlink.*:DeprecationWarning")
SIZES = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
SIZES |= {"num_attention_heads": 2}
TEMPLATE = (
    "{% for m in messages %}USER: {% for c in m['content'] %}"
    "{% if c['type'] == 'image' %}<image>{% else %}{{ c['text'] }}{% endif %}"
    "{% endfor %} BOT:{% endfor %}"
)
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


def save_llava(folder):
    torch.manual_seed(0)
    save_tokenizer(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(["<image>"], special_tokens=True)
    picture = tokenizer.convert_tokens_to_ids("<image>")
    config = transformers.LlavaConfig(
        vision_config=transformers.CLIPVisionConfig(**SIZES, image_size=32, patch_size=16),
        text_config=transformers.LlamaConfig(**SIZES, vocab_size=len(tokenizer)),
        image_token_id=picture,
        image_token_index=picture,
    )
    pictures = transformers.CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size=SIDE)
    processor = transformers.LlavaProcessor(
        pictures,
        tokenizer,
        patch_size=16,
        vision_feature_select_strategy="default",
        chat_template=TEMPLATE,
        num_additional_image_tokens=1,
    )
    processor.save_pretrained(folder)
    transformers.LlavaForConditionalGeneration(config).save_pretrained(folder)
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


def test_a_model_with_a_chat_template_is_shown_several_frames_and_asked(tmp_path):
    config = CaptionsConfig(model=save_llava(tmp_path), frames=2, max_new_tokens=5)
    captioner = Captioner(config)
    assert captioner.asks
    inputs = captioner._inputs(clip(2).frames)
    assert len(inputs["pixel_values"]) == 2
    asked = captioner.processor.decode(inputs["input_ids"][0], skip_special_tokens=True)
    assert asked == f"USER: {config.prompt} BOT:"
    assert captioner.describe(clip(6)).equals(captioner.describe(clip(6)))


def test_a_processor_that_needs_torchvision_is_said_so(tmp_path):
    if find_spec("torchvision"):
        pytest.skip("torchvision is installed")
    save_tokenizer(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "smolvlm"}')
    (tmp_path / "processor_config.json").write_text('{"processor_class": "SmolVLMProcessor"}')
    (tmp_path / "preprocessor_config.json").write_text(
        '{"image_processor_type": "SmolVLMImageProcessor"}'
    )
    (tmp_path / "video_preprocessor_config.json").write_text(
        '{"video_processor_type": "SmolVLMVideoProcessor"}'
    )
    with pytest.raises(InputError, match=r"needs torchvision: pip install 'torchvision'"):
        Captioner(CaptionsConfig(model=str(tmp_path)))


def test_a_folder_that_holds_no_captioner_is_said_so(tmp_path):
    with pytest.raises(InputError, match="to write captions"):
        Captioner(CaptionsConfig(model=str(tmp_path)))
