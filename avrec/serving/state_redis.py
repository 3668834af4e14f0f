"""The state in Redis, for replicas on several machines.

The server must sync each write before it answers (`appendonly yes`, `appendfsync always`) and must
throw nothing away (`maxmemory-policy noeviction`); it is asked for that, and refused without.
Every change is one script, so it happens whole or not at all. Below one prefix lie

    id:EVENT          that an event came in; goes after `keep_days`
    hot:USER          the latest events of a user by time; go `keep_days` after the last of them
    events, served    streams of what is not drained yet, in the order in which it came
    events:USER, served:USER    which entries of the streams are a user's
    batch             the batch that is being drained
    forgotten         until when a user is to be forgotten

The prefix is a hash tag: on a Redis Cluster all of it lies in one slot.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from typing import Any, cast

import pyarrow as pa
import redis
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

from avrec.schema import EVENTS, FORGOTTEN, RECOMMENDATIONS
from avrec.serving.state import Live, Sealed, StateError, from_rows, to_rows

SCRIPTS = ("append", "served", "forget", "seal", "drained")
REQUIRED = {"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction"}
SEQ_DIGITS = 16
RETRIES = 2
TIMEOUT_SECONDS = 5.0
EPOCH = datetime.fromtimestamp(0, UTC)


class RedisState:
    """A `UserState` on a Redis server, version 7 or later.

    Args:
        url: such as `redis://host:6379/0`, or `rediss://` for TLS. What goes wrong is told without
            it, for it may hold a password.
        password: of the server, where the URL has none.
        max_events: latest events of a user that `live` gives.
        keep_days: for how long an event is at hand, and its id known, after it was accepted.
        timeout_seconds: how long the server may take to answer.
        prefix: of every key.
    """

    def __init__(
        self,
        url: str,
        *,
        password: str | None = None,
        max_events: int = 200,
        keep_days: int = 90,
        timeout_seconds: float = TIMEOUT_SECONDS,
        prefix: str = "{avrec}",
    ) -> None:
        if max_events < 1:
            raise ValueError(f"max_events must be at least 1, got {max_events}")
        self._max_events, self._keep_seconds, self._prefix = max_events, keep_days * 86_400, prefix
        self._redis = connect(url, password, timeout_seconds)
        self._scripts = {name: self._redis.register_script(source(name)) for name in SCRIPTS}
        self._require_durable()

    def append(self, events: pa.Table) -> list[bool]:
        """See `UserState`."""
        values: list[Any] = [self._keep_seconds, self._max_events]
        place = {name: EVENTS.get_field_index(name) for name in ("event_id", "user_id", "at")}
        for row in to_rows(events, EVENTS):
            values += [*(row[at] for at in place.values()), _pack(row)]
        return [bool(fresh) for fresh in self._run("append", *values)]

    def live(self, user_id: str) -> Live:
        """See `UserState`."""
        with told():
            pipe = self._redis.pipeline()
            pipe.zrange(self._key("hot", user_id), 0, -1)
            pipe.hget(self._key("forgotten"), user_id)
            hot, moment = pipe.execute()
        rows = [json.loads(member[SEQ_DIGITS:]) for member in hot]
        after = [row for row in rows if moment is None or row[AT] > int(moment)]
        return Live(from_rows(after, EVENTS), None if moment is None else _time(int(moment)))

    def forget(self, user_id: str, at: datetime) -> int:
        """See `UserState`."""
        return int(self._run("forget", user_id, (at - EPOCH) // timedelta(microseconds=1)))

    def forgotten(self) -> pa.Table:
        """See `UserState`."""
        with told():
            found = cast("dict[str, str]", self._redis.hgetall(self._key("forgotten")))
        return from_rows([(user, int(at)) for user, at in sorted(found.items())], FORGOTTEN)

    def log_served(self, shown: pa.Table) -> None:
        """See `UserState`."""
        lists: dict[tuple[str, str], list[Any]] = {}
        whose = [shown[name].to_pylist() for name in ("request_id", "user_id")]
        for one, row in zip(zip(*whose, strict=True), to_rows(shown, RECOMMENDATIONS), strict=True):
            lists.setdefault(one, []).append(row)
        if lists:
            self._run("served", *(v for one, rows in lists.items() for v in (*one, _pack(rows))))

    def seal(self, max_rows: int) -> Sealed | None:
        """See `UserState`."""
        answer = self._run("seal", max_rows)
        if not answer:
            return None
        number, events, served = answer
        lists = [row for rows in _unpack(served) for row in rows]
        return Sealed(number, from_rows(_unpack(events), EVENTS), from_rows(lists, RECOMMENDATIONS))

    def drained(self, number: int) -> None:
        """See `UserState`."""
        self._run("drained", number)

    def check(self) -> None:
        """See `UserState`."""
        with told():
            self._redis.ping()

    def _require_durable(self) -> None:
        with told():
            found = cast("dict[str, str]", self._redis.config_get(*REQUIRED))
        wrong = [f"{key} {value}" for key, value in REQUIRED.items() if found.get(key) != value]
        if wrong:
            raise StateError(f"Redis could lose accepted events; set {', '.join(wrong)}")

    def _run(self, script: str, *values: Any) -> Any:
        with told():
            return self._scripts[script](keys=[self._prefix], args=values)

    def _key(self, *parts: str) -> str:
        return ":".join((self._prefix, *parts))


AT = EVENTS.get_field_index("at")


def connect(
    url: str, password: str | None, timeout_seconds: float = TIMEOUT_SECONDS
) -> redis.Redis:
    """Open a client that gives texts and tries again a little."""
    secret = {} if password is None else {"password": password}
    return redis.Redis.from_url(
        url,
        decode_responses=True,
        socket_timeout=timeout_seconds,
        socket_connect_timeout=timeout_seconds,
        retry=Retry(ExponentialBackoff(cap=0.1, base=0.01), RETRIES),
        **secret,
    )


@contextmanager
def told() -> Iterator[None]:
    """Turn what goes wrong into a StateError."""
    try:
        yield
    except redis.RedisError as error:
        raise StateError(f"Redis cannot be used: {type(error).__name__}: {error}") from error


def source(name: str) -> str:
    """Text of a script."""
    return files(__package__).joinpath("lua", f"{name}.lua").read_text()


def _pack(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _unpack(entries: Sequence[tuple[str, Sequence[str]]]) -> list[Any]:
    """Rows of stream entries; their fields are `user`, its name, `row`, its JSON."""
    return [json.loads(fields[3]) for _, fields in entries]


def _time(micros: int) -> datetime:
    return EPOCH + timedelta(microseconds=micros)
