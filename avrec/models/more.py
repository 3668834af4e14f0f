"""What towers may learn from beside histories and content, and where a workspace has it."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import pyarrow as pa

from avrec.arrays import Vectors
from avrec.embed.pool import Content
from avrec.embed.text import texts
from avrec.models import pretrain, tuned
from avrec.models.towers_net import TowersConfig
from avrec.models.tuned import Tuning
from avrec.schema import DESCRIPTIONS, ITEMS, conform
from avrec.store import Workspace

TOLD, PEOPLE = "descriptions", "users"


class More(NamedTuple):
    """What a run may have beside histories and content.

    `pieces` of modalities (`avrec.models.pretrain`) are learned from first; `tuning` is of the
    modality whose encoder is trained (`avrec.models.tuned`).
    """

    pieces: Mapping[str, Vectors] = MappingProxyType({})
    tuning: Tuning | None = None


NO_MORE = More()


def sources(workspace: Workspace, config: TowersConfig) -> list[str]:
    """Names of the artifacts that are learned from, beside content and interactions."""
    told = [TOLD] if config.lora.model and workspace.has(TOLD) else []
    people = [PEOPLE] if config.profile and workspace.has(PEOPLE) else []
    return [*([pretrain.SOURCE] if config.pretrain_epochs else []), *told, *people]


def read(
    workspace: Workspace, items: pa.Table, content: Content, config: TowersConfig
) -> tuple[Content, More]:
    """Read what the configuration asks for; the content has the modality that is trained.

    Raises:
        InputError: the encoder to train is absent, or cannot be trained.
    """
    pieces = pretrain.read(workspace, content, config)
    if not config.lora.model:
        return content, More(pieces)
    from avrec.embed import lora  # noqa: PLC0415 -- it needs what most runs do without

    words = workspace.read_table(TOLD, DESCRIPTIONS) if workspace.has(TOLD) else None
    table = conform(items, ITEMS)
    said = dict(zip(table["item_id"].to_pylist(), texts(table, words), strict=True))
    ordered = [said[item_id] for item_id in content.items.ids.to_pylist()]
    more, tuning = tuned.begin(content, config.lora, lora.states(config.lora, ordered))
    return more, More(pieces, tuning)
