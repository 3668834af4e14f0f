"""Items that are put get their vectors: by the encoders, and within the limits, of the pipeline.

    import_path: avrec.serving.embedder:app   (the second application of cluster/serve.yaml)

One deployment reads the board, embeds what waits, and writes what came of it there. A kill costs
nothing but time: what was not written waits still. When a bundle of other encoders is activated,
items are embedded again.
"""

import logging
import threading
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from ray import serve
from ray.serve import Application

from avrec import config, log
from avrec.arrays import Vector
from avrec.checks import FAULTS
from avrec.embed.encoder import SAMPLING, EmbedConfig, Encoder, key, load_encoder
from avrec.embed.pool import ENCODING
from avrec.embed.text import texts
from avrec.errors import ArtifactError, AvrecError, MediaError
from avrec.log import pairs
from avrec.media.decode import Clip
from avrec.media.fetch import local_copy
from avrec.media.limits import Limits
from avrec.media.probe import MediaFacts
from avrec.media.sampling import Plan
from avrec.media.sandbox import Sandbox
from avrec.serving import catalogue
from avrec.serving import routing as notes
from avrec.serving.board import Board, Note
from avrec.serving.catalogue import Entry
from avrec.serving.state import StateError
from avrec.serving.states import HEAD_NODE, on_redis, open_board
from avrec.store import Workspace

if TYPE_CHECKING:
    from collections.abc import Mapping

logger = logging.getLogger(__name__)
POLL_SECONDS = 0.25
NOTHING: Vector = np.empty(0, np.float32)


class Embedder:
    """Encoders of a configuration, and a child that decodes.

    Args:
        embed: what encodes, and what is taken of a clip.
        limits: what one file may cost.
    """

    def __init__(self, embed: EmbedConfig, limits: Limits) -> None:
        made = [load_encoder(one) for one in embed.encoders]
        self._encoders = {key(one): one for one in made}
        self._plan = Plan(**{name: getattr(embed, name) for name in ("policy", *SAMPLING)})
        self._limits, self._sandbox = limits, Sandbox(limits)

    @property
    def keys(self) -> set[str]:
        """Names of the encoders."""
        return set(self._encoders)

    def embed(self, entry: Entry) -> Entry:
        """Tell what came of an item; one whose file is of no use has no vector at all."""
        try:
            facts, vectors = self._embedded(entry)
        except MediaError as error:
            return _settled(entry, status="failed", error=str(error), vectors={})
        except FAULTS as error:
            told = f"crashed: {type(error).__name__}: {error}"
            return _settled(entry, status="failed", error=told, vectors={})
        return _settled(
            entry,
            status="ready",
            error=None,
            good_uri=entry.uri,
            duration_seconds=None if facts is None else facts.duration_seconds,
            kind=None if facts is None else facts.kind,
            vectors=vectors,
        )

    def close(self) -> None:
        """End the child."""
        self._sandbox.close()

    def _embedded(self, entry: Entry) -> tuple[MediaFacts | None, dict[str, Vector]]:
        facts, clip = None, None
        if entry.uri is not None:
            with local_copy(entry.uri, self._limits) as path:
                facts = self._sandbox.probe(path)
                clip = self._sandbox.decode(path, self._plan)
        [text] = texts(catalogue.table([entry]))
        return facts, {
            name: _mean(one, _inputs(one, clip, text)) for name, one in self._encoders.items()
        }


class Desk:
    """Embeds what waits on a board.

    Args:
        board: where items are put.
        workspace: holds the active bundle, which says how its content was embedded.
    """

    def __init__(self, board: Board, workspace: Workspace) -> None:
        self._board, self._workspace = board, workspace
        self._number, self._active = 0, ""
        self._encoding: Mapping[str, Any] = {}
        self._embedder: Embedder | None = None
        self._waiting: dict[str, Note] = {}

    def work(self) -> int:
        """Embed all that waits now, and return how many items that was.

        Raises:
            StateError: the board cannot be used.
        """
        self._read()
        count = 0
        while self._waiting and self._embedder is not None:
            note = self._waiting.pop(next(iter(self._waiting)))
            entry = catalogue.parse(note.text)
            if self._lacks(entry):
                self._settle(note, self._embedder.embed(entry))
                count += 1
        return count

    def close(self) -> None:
        """End what decodes."""
        if self._embedder is not None:
            self._embedder.close()

    def _settle(self, note: Note, entry: Entry) -> None:
        """Write what came of an item, unless it was put anew in between."""
        self._board.write(note.name, catalogue.text_of(entry), instead_of=note.number)
        told = {"status": entry.status, "why": entry.error}
        logger.info("embedded %s", pairs(item=entry.item_id, **told))

    def _lacks(self, entry: Entry) -> bool:
        assert self._embedder is not None
        stale = entry.status == "ready" and not self._embedder.keys <= entry.vectors.keys()
        return entry.status == "waiting" or stale

    def _read(self) -> None:
        while changed := self._board.since(self._number):
            for note in changed:
                if note.name.startswith(catalogue.PREFIX):
                    self._waiting[note.name] = note
                elif note.name == notes.NAME:
                    self._follow(notes.parse(note.text).active)
            self._number = changed[-1].number

    def _follow(self, version: str) -> None:
        """Take the encoders of the bundle that is active now, where they are others."""
        if version == self._active:
            return
        self._active = version
        try:
            encoding = self._workspace.open("bundle", version).json(ENCODING)
        except ArtifactError as error:
            logger.error("items wait: %s; run the job embed, then index, again", error)  # noqa: TRY400
            return
        if encoding == self._encoding:
            return
        self.close()
        self._embedder = Embedder(
            config.build(EmbedConfig, encoding["embed"]), config.build(Limits, encoding["limits"])
        )
        self._encoding, self._waiting = encoding, {}
        for note in self._every_item():
            self._waiting[note.name] = note

    def _every_item(self) -> list[Note]:
        found, number = [], 0
        while changed := self._board.since(number):
            found += [note for note in changed if note.name.startswith(catalogue.PREFIX)]
            number = changed[-1].number
        return found


class EmbedderArgs(BaseModel):
    """What the `args` of this application in `cluster/serve.yaml` may set."""

    model_config = ConfigDict(extra="forbid")

    workspace: str = Field(description="As of the service.")
    state: str = Field(description="As of the service.")
    redis_password: str | None = Field(default=None, description="As of the service.")
    num_cpus: float = Field(default=0.5, ge=0, description="Reserved for it.")
    num_gpus: float = Field(default=0.0, ge=0, description="Reserved for it.")


class EmbedderReplica:
    """The deployment: a thread at a desk; nobody calls it."""

    def __init__(self, args: EmbedderArgs) -> None:
        log.set_up()
        board = open_board(args.state, password_file=args.redis_password)
        self._desk = Desk(board, Workspace(args.workspace))
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="embedder", daemon=True)
        self._thread.start()

    def check_health(self) -> None:
        """Let Serve start another one when the thread has ended."""
        if not self._thread.is_alive():
            raise AvrecError("the embedder works no longer")

    def _run(self) -> None:
        while not self._ended.wait(POLL_SECONDS):
            try:
                self._desk.work()
            except StateError as error:
                logger.warning("board not read: %s", error)


def app(args: EmbedderArgs) -> Application:
    """Build the application; `serve deploy` calls this with the `args` of the YAML file."""
    deployment = serve.deployment(EmbedderReplica).options(
        name="embedder",
        num_replicas=1,
        ray_actor_options={
            "num_cpus": args.num_cpus,
            "num_gpus": args.num_gpus,
            "resources": {} if on_redis(args.state) else {HEAD_NODE: 0.001},
        },
    )
    return deployment.bind(args)


def _settled(entry: Entry, **found: Any) -> Entry:
    now = datetime.now(UTC).isoformat()
    return replace(entry, done_at=now, **found)


def _inputs(encoder: Encoder[Any], clip: Clip | None, text: str) -> Sequence[Any]:
    if encoder.modality == "text":
        return [text]
    if clip is None:
        return []
    of = clip.frames_in if encoder.modality == "frames" else clip.sound_in
    return [of(span) for span in clip.spans]


def _mean(encoder: Encoder[Any], inputs: Sequence[Any]) -> Vector:
    """Mean over the inputs in which the encoder sees something, as `avrec.embed.pool` takes it."""
    seen = [one for one in inputs if len(one)]
    vectors = encoder.encode(seen) if seen else NOTHING[None]
    told = vectors[vectors.any(axis=1)]
    return told.mean(axis=0, dtype=np.float64).astype(np.float32) if len(told) else NOTHING
