"""What goes over the wire, as pydantic models; their limits are said in `/openapi.json` too."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    FiniteFloat,
    StringConstraints,
)

from avrec.schema import EVENT_KINDS
from avrec.serving.people import Barred

MAX_K = 500
MAX_ID_LENGTH = 512
MAX_IDS = 10_000
MAX_EVENTS = 1_000
MAX_TEXT, MAX_TAGS = 20_000, 100
MAX_CANDIDATES = 1_000
MAX_LIKES = 100
FIRST_YEAR = 1971
CLOCK_SKEW = timedelta(minutes=5)


def _within(k: int) -> int:
    if not 1 <= k <= MAX_K:
        raise ValueError(f"must be in 1..{MAX_K}")
    return k


def _text(value: object) -> object:
    if not isinstance(value, str):
        raise ValueError("must be an ISO 8601 time with an offset, such as 2026-01-31T12:00:00Z")  # noqa: TRY004
    return value


def _not_ahead(at: datetime) -> datetime:
    if at.year < FIRST_YEAR:
        raise ValueError(f"is before {FIRST_YEAR}")
    if at > datetime.now(UTC) + CLOCK_SKEW:
        raise ValueError("is in the future")
    return at.astimezone(UTC)


NO_SEPARATOR = r"^[^\x1f]*$"
Id = Annotated[str, StringConstraints(min_length=1, max_length=MAX_ID_LENGTH, pattern=NO_SEPARATOR)]
K = Annotated[
    int, AfterValidator(_within), Field(json_schema_extra={"minimum": 1, "maximum": MAX_K})
]
At = Annotated[AwareDatetime, BeforeValidator(_text), AfterValidator(_not_ahead)]


Text = Annotated[str, StringConstraints(min_length=1, max_length=MAX_ID_LENGTH)]


class Message(BaseModel):
    """A body; a misspelt field is an error, not ignored."""

    model_config = ConfigDict(extra="forbid")


def Nothing(kind: type[Message]) -> Any:  # noqa: N802
    """A field that is one message where nothing is said; a plain default is copied, and slowly."""
    nothing = kind()
    shown: dict[str, Any] = {"default": nothing.model_dump()}
    return Field(default_factory=lambda: nothing, json_schema_extra=shown)


class Likes(Message):
    """What a newcomer states."""

    items: list[Id] = Field(default=[], max_length=MAX_LIKES)
    tags: list[Id] = Field(default=[], max_length=MAX_LIKES)
    creators: list[Id] = Field(default=[], max_length=MAX_LIKES)


class Context(Message):
    """What is known of the moment of a request."""

    session: list[Id] = Field(
        default=[], max_length=MAX_IDS, description="Items taken to, oldest first."
    )
    likes: Likes = Nothing(Likes)
    language: Id | None = Field(
        default=None, description="Of whom nothing else is known: what is popular there is listed."
    )
    profile: dict[Id, Id | FiniteFloat] = Field(
        default={},
        max_length=MAX_LIKES,
        description="Fields of the profile, over what is known of the user.",
    )


MAX_DEADLINE_MS = 600_000
DeadlineMs = Annotated[
    int | None,
    Field(
        default=None,
        ge=1,
        le=MAX_DEADLINE_MS,
        description="Milliseconds that the answer may take; beyond, it says in `degraded` what it "
        "lacks. Absent, or above the service's limit: that.",
    ),
]


class Ask(Message):
    """A request for a list."""

    user_id: Id | None = Field(default=None, description="Absent: nobody known, the popular items.")
    k: K = 10
    exclude: list[Id] = Field(default=[], max_length=MAX_IDS, description="Items not to show.")
    context: Context = Nothing(Context)
    deadline_ms: DeadlineMs


class RankAsk(Message):
    """A request to put one's own candidates in order."""

    user_id: Id | None = None
    items: list[Id] = Field(
        min_length=1, max_length=MAX_CANDIDATES, description="Candidates, in any order."
    )
    k: K | None = Field(default=None, description="Length of the list; absent: all of them.")
    context: Context = Nothing(Context)
    deadline_ms: DeadlineMs


class Shown(BaseModel):
    """One place of a list."""

    item_id: str
    title: str
    rank: int = Field(description="From 1.")
    score: float = Field(description="Of the item by itself; reranking may order otherwise.")
    propensity: float = Field(
        description="Chance of this item at this place under the policy, given those above."
    )
    sources: list[str] = Field(description="What proposed it.")
    reason: str


class Answer(BaseModel):
    """A ranked list, best first; shorter than `k` where nothing more is left to show."""

    request_id: str = Field(description="Send it back with the events that the list leads to.")
    model: str = Field(description="Version of the bundle.")
    policy: str
    at: datetime
    items: list[Shown]
    unknown: list[str] = Field(description="Ids of the request that the catalogue lacks.")
    degraded: list[str] = Field(
        description="What the list was made without, for lack of time or because it failed: "
        "`state` (what the person did lately), sources by name, `ranker`, `rerank`."
    )
    milliseconds: dict[str, float] = Field(
        description="Time by stage; retrieve, score, rerank and explain are parts of recommend."
    )


class LeftOut(BaseModel):
    """A candidate that is not ranked."""

    item_id: str
    reason: Barred


class Ranking(Answer):
    """The candidates in order, best first.

    What the person finished, skipped, disliked or hid is left out, and so are near-duplicates of
    that and what cannot be played; what they only began is ranked like the rest.
    """

    left_out: list[LeftOut]


class Similar(BaseModel):
    """The items most like one, best first."""

    item_id: str
    model: str
    items: list[Shown]
    degraded: list[str] = Field(description="`similar` where there was no time for it.")
    milliseconds: dict[str, float]


class Event(Message):
    """Something that a user did with an item."""

    event_id: Id = Field(description="Made by the sender; sent again, it counts once.")
    user_id: Id
    item_id: Id
    kind: Literal[EVENT_KINDS]  # type: ignore[valid-type]
    at: At | None = Field(default=None, description="ISO 8601 with an offset; absent: now.")
    position_seconds: Annotated[FiniteFloat, Field(ge=0)] | None = None
    value: FiniteFloat | None = None
    request_id: Id | None = Field(default=None, description="The list that the item was shown in.")


class Batch(Message):
    """Events to take in; each is judged by itself."""

    events: list[Any] = Field(
        min_length=1,
        max_length=MAX_EVENTS,
        json_schema_extra={"items": Event.model_json_schema()},
    )


class Verdict(BaseModel):
    """What became of one event."""

    event_id: str | None
    status: Literal["accepted", "duplicate", "refused"]
    reason: str | None = None


class Receipt(BaseModel):
    """What became of a batch; `events` is in the order of the request."""

    accepted: int
    duplicate: int
    refused: int
    events: list[Verdict]


class ItemPut(Message):
    """What is said of an item; what is left out is not known of it."""

    title: Text
    uri: Text | None = Field(default=None, description="Its audio or video file.")
    description: Annotated[str, StringConstraints(max_length=MAX_TEXT)] | None = None
    tags: list[Text] | None = Field(default=None, max_length=MAX_TAGS)
    creator_id: Id | None = None
    language: Text | None = None
    published_at: At | None = Field(
        default=None, description="Absent: as it was, or now for a new item."
    )
    age_rating: Text | None = None
    regions: list[Text] | None = Field(default=None, max_length=MAX_TAGS)


class ItemTold(BaseModel):
    """What is known of an item, by the replica that was asked."""

    item_id: str
    status: Literal["waiting", "ready", "failed", "deleted"] = Field(
        description="`waiting` to be embedded; `failed`: see `error`."
    )
    title: str | None = None
    uri: str | None = None
    description: str | None = None
    tags: list[str] | None = None
    creator_id: str | None = None
    language: str | None = None
    published_at: datetime | None = None
    age_rating: str | None = None
    regions: list[str] | None = None
    put_at: datetime | None = Field(default=None, description="Put or deleted; absent: never.")
    done_at: datetime | None = Field(default=None, description="Embedded, or given up.")
    seconds_to_list: float | None = Field(
        default=None, description="From when it was put until lists here may show it."
    )
    error: str | None = Field(default=None, description="`kind: message`, as in quarantine.")


class Activation(Message):
    """How a version is to answer."""

    share: float = Field(default=1.0, ge=0, le=1, description="Of the people; 1: it is active.")
    shadow: bool = Field(
        default=False, description="Make the lists of the others too, only to be compared."
    )


class Lines(BaseModel):
    """Which versions answer."""

    active: str
    previous: str | None = Field(description="Active before; what a rollback goes back to.")
    candidate: str | None = Field(description="Tried beside the active one.")
    share: float = Field(description="Of the people, who get the candidate's lists.")
    shadow: bool = Field(description="Whether the candidate makes all other lists too.")
    at: str = Field(description="Since when.")
    why: str = Field(description="How it came to this.")


class KeptModel(BaseModel):
    """A version that may be activated."""

    version: str
    made_at: str
    metrics: dict[str, float] = Field(description="As `model/split/metric@k`, when it was made.")


class KeptModels(Lines):
    """Which versions answer, by the replica that was asked, and which are kept."""

    loading: list[str] = Field(description="Being loaded beside those that answer.")
    refused: dict[str, str] = Field(description="Wanted, but may not take traffic, and why.")
    models: list[KeptModel] = Field(description="Oldest first.")


class Forgotten(BaseModel):
    """What became of a user's data."""

    events: int = Field(description="Deleted from the state.")
    at: datetime = Field(description="Of what they did until then, training uses nothing.")


class Problem(BaseModel):
    """Kind and text of an error."""

    kind: str
    message: str


class Fault(BaseModel):
    """The one shape of errors."""

    error: Problem


class Health(BaseModel):
    """Whether the service works."""

    status: Literal["ok"] = "ok"
    model: str | None = Field(default=None, description="Version that is active here.")
    loading: list[str] = Field(default=[], description="Versions being loaded beside it.")
    refused: dict[str, str] = Field(default={}, description="Versions that may not serve, and why.")


class Ready(Health):
    """Whether this replica may take requests."""

    state: Literal["available", "unavailable"] = Field(
        description="Unavailable: lists are made without live events, and events are refused."
    )
