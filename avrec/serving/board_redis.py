"""The board on the Redis server of the state.

Below the prefix lie `notes`, the texts by name; `numbers`, the names by the number of their last
change; and `number`, the highest so far.
"""

from avrec.serving.board import MAX_NOTES, Note
from avrec.serving.state_redis import connect, source, told


class RedisBoard:
    """A `Board` on a Redis server that syncs each write, as `RedisState` asks for.

    Args:
        url: as of `RedisState`.
        password: of the server, where the URL has none.
        prefix: of every key.
    """

    def __init__(self, url: str, *, password: str | None = None, prefix: str = "{avrec}") -> None:
        self._redis, self._prefix = connect(url, password), prefix
        names = ("note", "since")
        self._write, self._since = (self._redis.register_script(source(name)) for name in names)

    def write(self, name: str, text: str, instead_of: int | None = None) -> int:
        """See `Board`."""
        wanted = -1 if instead_of is None else instead_of
        with told():
            return int(self._write(keys=[self._prefix], args=[name, text, wanted]))

    def read(self, name: str) -> Note | None:
        """See `Board`."""
        with told():
            pipe = self._redis.pipeline()
            pipe.zscore(f"{self._prefix}:numbers", name)
            pipe.hget(f"{self._prefix}:notes", name)
            number, text = pipe.execute()
        return None if text is None else Note(name, int(number), text)

    def since(self, number: int, most: int = MAX_NOTES) -> list[Note]:
        """See `Board`."""
        with told():
            found = self._since(keys=[self._prefix], args=[number, most])
        return [Note(name, int(at), text) for name, at, text in found]
