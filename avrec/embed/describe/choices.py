"""Choose among given labels by likelihood, as calibrated by a prompt that says nothing.

A label's score is the mean log-probability of its tokens after the item's prompt, less the same
after a prompt without content (Zhao et al. 2021, "Calibrate before use"), so that words which the
model likes to say anyway do not win. That prompt has the form of the others: it calls the item by
what any item is, such as a clip. Whatever a text says, the answer is one of the labels.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from avrec.arrays import Values
from avrec.embed.describe.chat_model import Branch, ChatModel


class Question(NamedTuple):
    """How an answer begins, and the labels that may end it."""

    name: str
    opening: str
    labels: tuple[str, ...]


class Chooser:
    """Asks a model the same questions of one text after another."""

    def __init__(
        self,
        model: ChatModel,
        instruction: str,
        questions: Sequence[Question],
        nothing: Sequence[int],
    ) -> None:
        """Calibrate the questions by the tokens `nothing` of a text without content."""
        self.model, self.instruction, self.questions = model, instruction, tuple(questions)
        self._branches = [
            Branch(
                model.own(question.opening),
                [model.own(f" {label}") for label in question.labels],
            )
            for question in questions
        ]
        self._usual = model.score(self.prompt(nothing), self._branches)

    def prompt(self, text: Sequence[int]) -> list[int]:
        """Tokens of the prompt for the tokens of a text."""
        return self.model.prompt([*self.model.own(self.instruction), *text])

    def shares(self, text: Sequence[int]) -> dict[str, Values]:
        """Probability of each label, by question; those of a question sum to 1."""
        return {
            question.name: _softmax(score - usual)
            for question, score, usual in zip(
                self.questions, self.scores(text), self._usual, strict=True
            )
        }

    def scores(self, text: Sequence[int]) -> list[Values]:
        """Mean log-probabilities of the labels of each question, not calibrated."""
        return self.model.score(self.prompt(text), self._branches)


def _softmax(scores: Values) -> Values:
    odds = np.exp(scores - scores.max())
    return odds / odds.sum()
