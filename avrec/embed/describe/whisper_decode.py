"""Whisper's decoder, window by window side by side."""

from dataclasses import dataclass, field
from typing import Any

import torch

from avrec.arrays import Values
from avrec.embed.describe.whisper_tokens import Alphabet


@dataclass(frozen=True, slots=True)
class Guess:
    """Tokens after the prompt, the mean of their log probabilities, and the chance of no speech."""

    tokens: list[int]
    logprob: float
    no_speech: float


@dataclass(slots=True)
class _Row:
    """A window being decoded; drawing starts from the same seed in each."""

    draw: torch.Generator
    tokens: list[int] = field(default_factory=list)
    total: float = 0.0
    ended: bool = False

    def take(self, logits: torch.Tensor, alphabet: Alphabet, temperature: float) -> int:
        """Choose the next token: the likeliest at 0, else one drawn."""
        if self.ended:
            return alphabet.end
        logs = alphabet.allow(logits, self.tokens)
        if temperature == 0:
            token = int(logs.argmax())
        else:
            chances = torch.softmax(logs / temperature, dim=-1)
            token = int(torch.multinomial(chances, 1, generator=self.draw))
        self.total += float(logs[token])
        self.ended = token == alphabet.end
        if not self.ended:
            self.tokens.append(token)
        return token

    def guess(self, no_speech: float) -> Guess:
        return Guess(self.tokens, self.total / (len(self.tokens) + 1), no_speech)


def decode(
    model: Any, states: torch.Tensor, prompts: torch.Tensor, alphabet: Alphabet, temperature: float
) -> list[Guess]:
    """Decode windows, given what the encoder made of them, up to half of what the model can hold.

    Args:
        model: a `WhisperForConditionalGeneration`.
        states: shape (num_windows, num_states, dim).
        prompts: tokens to begin with, shape (num_windows, num_tokens).
        alphabet: its special tokens.
        temperature: 0 takes the likeliest token.
    """
    seed = round(1000 * temperature)
    rows = [_Row(torch.Generator().manual_seed(seed)) for _ in states]
    given, past, no_speech = prompts.to(states.device), None, [0.0] * len(rows)
    for _ in range(model.config.max_target_positions // 2 - prompts.shape[1]):
        output = model(encoder_outputs=(states,), decoder_input_ids=given, past_key_values=past)
        logits = output.logits.float().cpu()
        if past is None:
            no_speech = logits[:, 0].softmax(dim=-1)[:, alphabet.no_speech].tolist()
        past = output.past_key_values
        last = [row.take(logits[n, -1], alphabet, temperature) for n, row in enumerate(rows)]
        if all(row.ended for row in rows):
            break
        given = torch.tensor(last, device=states.device)[:, None]
    return [row.guess(chance) for row, chance in zip(rows, no_speech, strict=True)]


def likelihoods(
    model: Any, states: torch.Tensor, prompt: list[int], texts: list[list[int]], end: int
) -> Values:
    """Probability of each text, and of its end, after the prompt; shape (num_texts,).

    Args:
        model: a `WhisperForConditionalGeneration`.
        states: what the encoder made of the window, once a text.
        prompt: tokens to begin with.
        texts: tokens of each text.
        end: token that ends it.
    """
    longest = 1 + max(map(len, texts))
    filled = [[*text, *[end] * (longest - len(text))] for text in texts]
    given = torch.tensor([[*prompt, *row[:-1]] for row in filled], device=states.device)
    logits = model(encoder_outputs=(states,), decoder_input_ids=given).logits
    logs = logits[:, len(prompt) - 1 :].float().log_softmax(dim=-1)
    chosen = logs.gather(2, torch.tensor(filled, device=states.device)[:, :, None])[:, :, 0].cpu()
    counted = torch.arange(longest) <= torch.tensor([[len(text)] for text in texts])
    return torch.where(counted, chosen, 0.0).sum(dim=1).exp().double().numpy()
