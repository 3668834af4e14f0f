"""Tiny models of the real classes with random weights: they load and run, and mean nothing."""

import json
from pathlib import Path

import safetensors.torch
import tokenizers
import torch
import transformers


def _saved(model, folder: Path, **files) -> Path:
    model.save_pretrained(folder)
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder


def clip(folder):
    towers = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1}
    vision = towers | {"num_attention_heads": 2, "image_size": 32, "patch_size": 16}
    vision |= {"projection_dim": 12}
    text = towers | {"num_attention_heads": 2, "vocab_size": 50, "max_position_embeddings": 8}
    config = transformers.CLIPConfig(vision_config=vision, text_config=text, projection_dim=12)
    preparation = {
        "size": {"shortest_edge": 32},
        "crop_size": {"height": 32, "width": 32},
        "do_center_crop": True,
        "resample": 3,
        "image_mean": [0.48, 0.46, 0.41],
        "image_std": [0.27, 0.26, 0.28],
    }
    return _saved(transformers.CLIPModel(config), folder, preprocessor_config=preparation)


def siglip(folder):
    towers = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1}
    vision = towers | {"num_attention_heads": 2, "image_size": 32, "patch_size": 16}
    text = towers | {"num_attention_heads": 2, "vocab_size": 50, "max_position_embeddings": 8}
    config = transformers.SiglipConfig(vision_config=vision, text_config=text)
    preparation = {"size": {"height": 32, "width": 32}}
    return _saved(transformers.SiglipModel(config), folder, preprocessor_config=preparation)


def whisper(folder):
    sizes = {"encoder_layers": 1, "decoder_layers": 1, "d_model": 16, "num_mel_bins": 80}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2}
    wide = {"encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "vocab_size": 60}
    ids = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1}
    config = transformers.WhisperConfig(**sizes, **heads, **wide, **ids)
    transformers.WhisperFeatureExtractor().save_pretrained(folder)
    return _saved(transformers.WhisperModel(config), folder)


def whisper_of_two_languages(folder):
    """Words 0 to 5, then special tokens, then the times from 0 to 30 s."""
    marks = {"eos": 6, "sot": 7, "en": 8, "de": 9, "transcribe": 10, "no_times": 12}
    sizes = {"encoder_layers": 1, "decoder_layers": 1, "d_model": 16, "num_mel_bins": 80}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2}
    wide = {"encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "vocab_size": 13 + 1501}
    ids = {"pad_token_id": 6, "bos_token_id": 6, "eos_token_id": 6, "decoder_start_token_id": 7}
    config = transformers.WhisperConfig(
        **sizes, **heads, **wide, **ids, max_target_positions=32, init_std=0.5
    )
    model = transformers.WhisperForConditionalGeneration(config)
    model.generation_config = transformers.GenerationConfig(
        **ids,
        no_timestamps_token_id=marks["no_times"],
        is_multilingual=True,
        lang_to_id={"<|en|>": marks["en"], "<|de|>": marks["de"]},
        task_to_id={"transcribe": marks["transcribe"]},
        suppress_tokens=[marks["sot"]],
        begin_suppress_tokens=[],
    )
    words = {word: n for n, word in enumerate(("red", "blue", "song", "film", "cat", "dog"))}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, "red"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer).save_pretrained(folder)
    transformers.WhisperFeatureExtractor().save_pretrained(folder)
    return _saved(model, folder)


def dense_head(folder):
    """A backbone, and a head of two dense layers as the safety model of the shared folder has."""
    config = transformers.MobileNetV2Config(
        depth_multiplier=0.25, min_depth=8, num_labels=3, image_size=32, initializer_range=0.5
    )
    config.id2label = {0: "Neutral", 1: "Porn", 2: "Drawing"}
    whole = transformers.MobileNetV2ForImageClassification(config)
    backbone = {k: v for k, v in whole.state_dict().items() if not k.startswith("classifier.")}
    wide, narrow = torch.nn.Linear(whole.classifier.in_features, 8), torch.nn.Linear(8, 3)
    head = {f"classifier.0.{k}": v for k, v in wide.state_dict().items()}
    head |= {f"classifier.2.{k}": v for k, v in narrow.state_dict().items()}
    folder.mkdir(parents=True, exist_ok=True)
    config.save_pretrained(folder)
    safetensors.torch.save_file(backbone | head, folder / "model.safetensors", {"format": "pt"})
    return folder


def ast(folder):
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.ASTConfig(**sizes, intermediate_size=16, max_length=128)
    transformers.ASTFeatureExtractor(max_length=128).save_pretrained(folder)
    return _saved(transformers.ASTModel(config), folder)


def clap(folder):
    sizes = {"patch_embeds_hidden_size": 8, "hidden_size": 64, "depths": [1, 1, 1, 1]}
    heads = {"num_attention_heads": [1, 1, 2, 2], "num_hidden_layers": 4}
    config = transformers.ClapAudioConfig(**sizes, **heads, projection_dim=12)
    transformers.ClapFeatureExtractor(truncation="rand_trunc").save_pretrained(folder)
    return _saved(transformers.ClapAudioModelWithProjection(config), folder)


def spectrogram_classifier(folder):
    config = transformers.MobileNetV1Config(
        num_channels=1, depth_multiplier=0.25, min_depth=8, num_labels=3, initializer_range=0.5
    )
    frontend = {
        "sample_rate": 16000,
        "stft_window_seconds": 0.025,
        "stft_hop_seconds": 0.01,
        "fft": 512,
        "mel_bands": 64,
        "mel_min_hz": 125.0,
        "mel_max_hz": 7500.0,
        "log_offset": 0.001,
        "patch_frames": 96,
        "patch_hop_frames": 48,
    }
    model = transformers.MobileNetV1ForImageClassification(config)
    return _saved(model, folder, yamnet_frontend=frontend)


def image_classifier(folder):
    config = transformers.MobileNetV2Config(
        depth_multiplier=0.25, min_depth=8, num_labels=3, image_size=32, initializer_range=0.5
    )
    preparation = {"size": {"height": 32, "width": 32}}
    model = transformers.MobileNetV2ForImageClassification(config)
    return _saved(model, folder, preprocessor_config=preparation)


def bert(folder):
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "red", "blue", "song", "film"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(words))
    transformers.BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.BertConfig(**sizes, intermediate_size=16, vocab_size=len(words))
    return _saved(transformers.BertModel(config), folder)


def bert_of_three_layers(folder):
    """The same, deeper, whose weights are large enough to matter."""
    bert(folder)
    config = transformers.BertConfig.from_pretrained(
        folder, num_hidden_layers=3, initializer_range=0.3
    )
    return _saved(transformers.BertModel(config), folder)


def _with_words(folder, model):
    """Save a text tower and a tokenizer of few words that begins and ends texts."""
    marks = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "film"}
    words = {"<pad>": 0, "<s>": 1, "red": 2, "blue": 3, "song": 4, "film": 5, "</s>": 6}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, marks["unk_token"]))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 6)]
    )
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **marks).save_pretrained(
        folder
    )
    return _saved(model, folder)


def clip_text(folder):
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1}
    ends = {"eos_token_id": 6, "bos_token_id": 1, "pad_token_id": 0, "num_attention_heads": 2}
    text = sizes | ends | {"vocab_size": 7, "max_position_embeddings": 12, "projection_dim": 12}
    vision = sizes | {"num_attention_heads": 2, "image_size": 32, "patch_size": 16}
    config = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=12)
    return _with_words(folder, transformers.CLIPModel(config))


def siglip_text(folder):
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1}
    text = sizes | {"num_attention_heads": 2, "vocab_size": 7, "max_position_embeddings": 12}
    text |= {"eos_token_id": 6, "bos_token_id": 1, "pad_token_id": 0}
    config = transformers.SiglipTextConfig(**text)
    return _with_words(folder, transformers.SiglipTextModel(config))


def siglip_whole(folder):
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1}
    text = sizes | {"num_attention_heads": 2, "vocab_size": 7, "max_position_embeddings": 12}
    text |= {"eos_token_id": 6, "bos_token_id": 1, "pad_token_id": 0}
    vision = sizes | {"num_attention_heads": 2, "image_size": 32, "patch_size": 16}
    config = transformers.SiglipConfig(text_config=text, vision_config=vision)
    return _with_words(folder, transformers.SiglipModel(config))


def clap_text(folder):
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1}
    ends = {"eos_token_id": 6, "bos_token_id": 1, "pad_token_id": 0, "num_attention_heads": 2}
    longest = {"vocab_size": 7, "max_position_embeddings": 24, "projection_dim": 12}
    config = transformers.ClapTextConfig(**sizes, **ends, **longest)
    return _with_words(folder, transformers.ClapTextModelWithProjection(config))


KIND_OF = {
    clip: "image_model",
    siglip: "image_model",
    whisper: "whisper",
    ast: "spectrogram_transformer",
    clap: "clap",
    spectrogram_classifier: "spectrogram_classifier",
    bert: "sentence_model",
    clip_text: "clip_text",
    siglip_text: "clip_text",
    clap_text: "clap_text",
}


def make(build, folder: Path) -> Path:
    torch.manual_seed(0)
    return build(folder)
