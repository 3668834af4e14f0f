"""The service on Ray Serve: one deployment that retrieves and ranks in one process.

    serve deploy cluster/serve.yaml

A second deployment for ranking would cost each request a hop of about a millisecond and gain
nothing: the models are small and share the catalogue. Scale by replicas.
"""

import gc
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field
from ray import serve
from ray.serve import Application

from avrec import log
from avrec.bundle import Bundle
from avrec.feedback import finished, to_interactions
from avrec.serving.api import MAX_BODY_BYTES, create_api
from avrec.serving.auth import Keys
from avrec.serving.catalogue import Catalogue
from avrec.serving.judge import Tolerance
from avrec.serving.lists import Deadlines
from avrec.serving.models import Models
from avrec.serving.page.gallery import Gallery
from avrec.serving.people import Taken
from avrec.serving.rates import Rates
from avrec.serving.service import Service
from avrec.serving.shelf import WorkspaceShelf
from avrec.serving.states import HEAD_NODE, on_redis, open_board, open_state
from avrec.store import Workspace

COLLECT_AFTER = 20_000, 20, 20
"""Objects more than before, then collections of younger ones, after which the collector looks."""


REPLICA_ENVIRONMENT = {
    # One request is small: threads of BLAS would only fight those of other requests.
    "OMP_NUM_THREADS": "1",
    # Threads share what they free; a heap of each would grow by every thread that ever ran.
    "MALLOC_ARENA_MAX": "2",
    "ARROW_DEFAULT_MEMORY_POOL": "system",
}


class ServeArgs(BaseModel):
    """What the `args` of `cluster/serve.yaml` may set."""

    model_config = ConfigDict(extra="forbid")

    workspace: str = Field(description="Root of the artifacts: a path or a pyarrow.fs URI.")
    version: str | None = Field(
        default=None, description="Of the first bundle; absent: the one made last."
    )
    state: str = Field(
        description="Live events: an SQLite file on the head node's disk, or a redis:// URL."
    )
    redis_password: str | None = Field(default=None, description="File of that server's password.")
    keys: str = Field(description="File of hashed keys, as avrec.serving.auth makes it.")
    media: list[str] = Field(
        default=[],
        description="Folders or URIs below which files of items that are put may lie, beside http "
        "and https.",
    )
    max_events: int = Field(default=200, ge=1, description="Latest events of a user that count.")
    keep_days: int = Field(default=90, ge=1, description="An event's id is known for, at least.")
    max_body_bytes: int = Field(default=MAX_BODY_BYTES, ge=1)
    requests_per_second: float | None = Field(
        default=None, gt=0, description="Of a key, over all replicas; absent: any number."
    )
    trial_requests: int = Field(
        default=200, ge=1, description="Of a new bundle and of the one before, that are compared."
    )
    trial_errors: float = Field(
        default=0.02, ge=0, description="Share of them by which the new one may fail more often."
    )
    trial_slowdown: float = Field(
        default=2.0,
        ge=1,
        description="Times the milliseconds of the one before (95th percentile) that it may take; "
        "beyond either limit it is taken back.",
    )
    deadline_ms: int = Field(
        default=1_000, ge=1, description="That a list may take, where the request says nothing."
    )
    max_deadline_ms: int = Field(default=10_000, ge=1, description="That a request may ask for.")
    num_replicas: int = Field(default=1, ge=1, description="With SQLite all on the head node.")
    num_cpus: float = Field(default=0.5, ge=0, description="Reserved for a replica.")
    max_ongoing_requests: int = Field(default=100, ge=1, description="At once, for a replica.")


def app(args: ServeArgs) -> Application:
    """Build the application; `serve deploy` calls this with the `args` of the YAML file."""

    def make() -> FastAPI:
        log.set_up()
        return build(args)

    return deploy(make, args)


def build(args: ServeArgs) -> FastAPI:
    """Make the application of one replica, whatever serves it."""
    rates = Rates(args.requests_per_second, args.num_replicas)
    keys, models = Keys(Path(args.keys)), open_models(args)
    gallery = partial(Gallery.of, Workspace(args.workspace), models.catalogue)
    models.start()
    deadlines = Deadlines(default_ms=args.deadline_ms, max_ms=args.max_deadline_ms)
    _leave_alone_what_is_loaded()
    return create_api(models, keys, rates, args.max_body_bytes, gallery, deadlines)


def _leave_alone_what_is_loaded() -> None:
    """Let the collector look at what requests leave, and seldom: it took a tenth of their time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT_AFTER)


def deploy(make: Callable[[], FastAPI], args: ServeArgs) -> Application:
    """Wrap an application, built on each replica, as a deployment."""
    deployment = serve.deployment(serve.ingress(make)()).options(
        name="avrec",
        num_replicas=args.num_replicas,
        max_ongoing_requests=args.max_ongoing_requests,
        ray_actor_options={
            "num_cpus": args.num_cpus,
            # A file is of one machine; elsewhere a replica would see another one.
            "resources": {} if on_redis(args.state) else {HEAD_NODE: 0.001},
            "runtime_env": {"env_vars": REPLICA_ENVIRONMENT},
        },
    )
    return deployment.bind()


def open_models(args: ServeArgs) -> Models:
    """Open the state, and load the bundles that are to answer.

    Raises:
        ArtifactError: no bundle can be served.
        StateError: the state cannot be opened.
    """
    secret = args.redis_password
    state = open_state(
        args.state, password_file=secret, max_events=args.max_events, keep_days=args.keep_days
    )
    board = open_board(args.state, password_file=secret)
    return Models(
        board,
        WorkspaceShelf(Workspace(args.workspace)),
        lambda loaded: Service(loaded, state, interpreter(loaded)),
        Catalogue(board, args.media),
        args.version,
        Tolerance(
            window=args.trial_requests,
            max_errors=args.trial_errors,
            max_slowdown=args.trial_slowdown,
        ),
    )


def interpreter(loaded: Bundle) -> Callable[[pa.Table], Taken]:
    """Read live events by the rules that the bundle's histories were made by."""

    def interpret(events: pa.Table) -> Taken:
        item_ids = pc.unique(events["item_id"])
        rows = loaded.vocabulary.idx(item_ids)
        seconds = np.where(rows >= 0, loaded.durations_seconds[rows], np.nan)
        durations = pa.table({"item_id": item_ids, "duration_seconds": seconds})
        taken = to_interactions(events, durations, loaded.feedback)
        return Taken(taken, finished(events, durations, loaded.feedback))

    return interpret
