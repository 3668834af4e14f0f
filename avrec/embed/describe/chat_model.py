"""Chat models as judges of given words: how likely is each label after a prompt.

Text of others never reaches the tokenizer's control words: it is tokenised apart from the prompt,
with its special tokens split, and every added token in it is broken first.

Labels are scored in one pass. Tokens of the prompt are computed once, and below them hang the
questions, below each question its labels, as a tree: a token sees only those on its way up.

    prompt -- question 1 -- label, label, label
           `- question 2 -- label, label
"""

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import transformers
from huggingface_hub.errors import StrictDataclassError

from avrec.arrays import Values
from avrec.embed.describe.language_config import CaptionsConfig, LanguageConfig
from avrec.embed.source import Source, whole
from avrec.embed.weights import digest
from avrec.errors import InputError

UNLOADABLE = (OSError, ValueError, KeyError, RuntimeError, ImportError, StrictDataclassError)
DTYPES = {"float32": torch.float32, "bf16": torch.bfloat16}
HERE = "\x02"
"""Stands for the text in a rendered chat template."""
SAME = 0.3
"""Nats by which the two ways of scoring may differ, bf16 included."""
SECOND_DECODING = {"num_beams": 2, "no_repeat_ngram_size": 3, "repetition_penalty": 1.2}
UNPRINTABLE = re.compile(r"[^\S ]|[\x00-\x1f\x7f-\x9f]|[\u200b-\u200f\u202a-\u202e\u2060-\u2069]")


class Branch(NamedTuple):
    """A question's tokens, at least one, and those of each of its labels."""

    question: list[int]
    labels: list[list[int]]


class ChatModel:
    """A causal language model by folder, hub id or GGUF file, in evaluation mode."""

    def __init__(self, config: LanguageConfig) -> None:
        """Load it.

        Raises:
            InputError: it is absent, or no causal language model.
        """
        transformers.logging.disable_progress_bar()
        try:
            self.tokenizer, self.model = _loaded(config)
        except UNLOADABLE as error:
            lines = str(error).strip().splitlines() or [repr(error)]
            hint = "; a GGUF file needs avrec[llm]" if config.gguf_file else ""
            raise InputError(
                f"cannot load {config.model!r} as a language model: {lines[0]}{hint}"
            ) from error
        self.device = config.device
        added = (token.content for token in self.tokenizer.added_tokens_decoder.values())
        words = sorted((word for word in added if len(word.strip()) > 1), key=len, reverse=True)
        self._added = re.compile("|".join(map(re.escape, words))) if words else None
        self.packs = self._packs()

    def words(self, text: str) -> list[int]:
        """Tokens of a text that is data: none of them is a control token."""
        return self.tokenizer(
            self.plain(text), add_special_tokens=False, split_special_tokens=True
        ).input_ids

    def own(self, text: str) -> list[int]:
        """Tokens of a text of ours, in which control words count."""
        return self.tokenizer(text, add_special_tokens=False).input_ids if text else []

    def plain(self, text: str) -> str:
        """Take line ends, unprintable characters and control words out of a text."""
        line = " ".join(UNPRINTABLE.sub(" ", text).split())
        while self._added and (found := self._added.search(line)):
            cut = found.start() + 1
            line = f"{line[:cut]} {line[cut:]}"
        return line

    def prompt(self, text: Sequence[int]) -> list[int]:
        """Put tokens into the chat template as the user's turn, with the answer to follow."""
        before, after = self._template()
        return [*self.own(before), *text, *self.own(after)]

    def score(self, prompt: Sequence[int], branches: Sequence[Branch]) -> list[Values]:
        """Mean log-probability of a token of each label after the prompt and its question."""
        return (self._score_packed if self.packs else self.score_each)(prompt, branches)

    @torch.inference_mode()
    def score_each(self, prompt: Sequence[int], branches: Sequence[Branch]) -> list[Values]:
        """Do what `score` does with one pass a label, for models that know no trees."""
        return [
            np.array([self._score_one([*prompt, *question], label) for label in labels])
            for question, labels in branches
        ]

    @torch.inference_mode()
    def write(self, prompt: Sequence[int], max_tokens: int, *, again: bool = False) -> str:
        """Write on, greedily, or the second time by beams that may not repeat themselves."""
        ids = torch.tensor([list(prompt)], device=self.device)
        written = self.model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=max_tokens,
            do_sample=False,
            pad_token_id=self.tokenizer.pad_token_id or self.tokenizer.eos_token_id or 0,
            **(SECOND_DECODING if again else {}),
        )
        return self.tokenizer.decode(written[0, len(prompt) :], skip_special_tokens=True)

    @torch.inference_mode()
    def _score_packed(self, prompt: Sequence[int], branches: Sequence[Branch]) -> list[Values]:
        tree = _Tree(len(prompt), branches)
        ids = torch.tensor([[*prompt, *tree.ids]], device=self.device)
        mask = torch.zeros(1, 1, *tree.sees.shape, dtype=self.model.dtype)
        mask.masked_fill_(~torch.from_numpy(tree.sees), torch.finfo(self.model.dtype).min)
        output = self.model(
            input_ids=ids,
            attention_mask=mask.to(self.device),
            position_ids=torch.tensor([tree.positions], device=self.device),
            use_cache=False,
            logits_to_keep=len(tree.ids),
        )
        logits = output.logits[0, -len(tree.ids) :].float().log_softmax(dim=-1)
        return tree.means(logits)

    def _score_one(self, before: list[int], label: list[int]) -> float:
        ids = torch.tensor([[*before, *label]], device=self.device)
        logits = self.model(input_ids=ids, use_cache=False).logits[0].float().log_softmax(dim=-1)
        rows = torch.arange(len(before) - 1, len(before) + len(label) - 1)
        return float(logits[rows, ids[0, len(before) :]].mean())

    def _packs(self) -> bool:
        """Tell by trying whether the model takes trees, as one with full attention does."""
        some = self.own("one two three four five six")
        branches = [Branch(some[:2], [some[2:3], some[3:]]), Branch(some[:1], [some[1:]])]
        try:
            packed = self._score_packed(some, branches)
        except (ValueError, RuntimeError, TypeError, IndexError):
            return False
        each = self.score_each(some, branches)
        return all(np.allclose(a, b, atol=SAME) for a, b in zip(packed, each, strict=True))

    def _template(self) -> tuple[str, str]:
        if not self.tokenizer.chat_template:
            return "", "\n"
        turn = [{"role": "user", "content": HERE}]
        text = self.tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)
        before, _, after = text.partition(HERE)
        return before, after


def model_key(config: LanguageConfig | CaptionsConfig, asked: object) -> str:
    """Name of a model and of what it is asked: name@weights-questions."""
    name = Path(getattr(config, "gguf_file", "") or config.model).name
    questions = hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:8]
    return f"{name}@{config.revision or digest(config.model)}-{questions}"


class _Tree:
    """Questions and labels below a prompt, as one row of tokens.

    `sees[i, j]` is true where token `i` of prompt and tree attends to token `j`.
    """

    def __init__(self, num_prompt: int, branches: Sequence[Branch]) -> None:
        self.ids: list[int] = []
        self.positions = list(range(num_prompt))
        self.paths: list[list[list[int]]] = []
        parents: list[int] = []
        for question, labels in branches:
            stem = self._hang(parents, -1, question, num_prompt)
            self.paths.append([])
            for label in labels:
                leaves = self._hang(parents, stem[-1], label, num_prompt)
                self.paths[-1].append([stem[-1], *leaves])
        total = num_prompt + len(self.ids)
        self.sees = np.tri(total, dtype=bool)
        self.sees[num_prompt:, num_prompt:] = False
        for row, parent in enumerate(parents):
            own = self.sees[num_prompt + row]
            if parent >= 0:
                own[num_prompt:] = self.sees[num_prompt + parent, num_prompt:]
            own[num_prompt + row] = True

    def means(self, logits: torch.Tensor) -> list[Values]:
        """Mean log-probability of each label, from those after each token of the tree."""
        ids = torch.tensor(self.ids)
        table = logits.cpu()
        return [
            np.array([float(table[path[:-1], ids[path[1:]]].mean()) for path in paths])
            for paths in self.paths
        ]

    def _hang(self, parents: list[int], above: int, ids: list[int], num_prompt: int) -> list[int]:
        rows = list(range(len(self.ids), len(self.ids) + len(ids)))
        depth = self.positions[num_prompt + above] + 1 if above >= 0 else num_prompt
        self.ids += ids
        self.positions += range(depth, depth + len(ids))
        parents += [above, *rows[:-1]]
        return rows


def _loaded(config: LanguageConfig) -> tuple[Any, Any]:
    place = Source(config.model, config.revision, 1, config.device).place
    form: dict[str, Any] = {"use_safetensors": True}
    if config.gguf_file:
        place["gguf_file"], form = config.gguf_file, {}
    tokenizer = transformers.AutoTokenizer.from_pretrained(**place)
    form["dtype"] = DTYPES[config.precision]
    model = whole(transformers.AutoModelForCausalLM, **place, **form)
    return tokenizer, model.to(config.device)
