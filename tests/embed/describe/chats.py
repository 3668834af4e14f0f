"""A tiny chat model of a real class with random weights: it runs, and means nothing."""

import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers
from tokenizers.decoders import ByteLevel

from avrec.embed.describe.chat_model import ChatModel
from avrec.embed.describe.language_config import LanguageConfig

CONTROL = ["<|end|>", "<|user|>", "<|bot|>"]
TEMPLATE = (
    "{% for m in messages %}<|user|>{{ m['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|bot|>{% endif %}"
)


def save_tokenizer(folder):
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({one: n for n, one in enumerate(letters)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = ByteLevel()
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        extra_special_tokens=CONTROL[1:],
        **dict.fromkeys(("eos_token", "pad_token"), CONTROL[0]),
    )
    fast.chat_template = TEMPLATE
    fast.save_pretrained(folder)
    return len(fast)


def save_llama(folder):
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    config = transformers.LlamaConfig(
        **sizes, **heads, vocab_size=save_tokenizer(folder), initializer_range=0.3
    )
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def save_mamba(folder):
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "state_size": 4, "num_hidden_layers": 1}
    config = transformers.MambaConfig(
        **sizes, vocab_size=save_tokenizer(folder), initializer_range=0.5
    )
    transformers.MambaForCausalLM(config).save_pretrained(folder)
    return folder


def chat(folder, **settings) -> ChatModel:
    return ChatModel(LanguageConfig(model=str(folder), **settings))
