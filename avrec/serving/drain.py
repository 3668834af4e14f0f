"""From the state to Parquet: each accepted event once, whoever is killed in between."""

from avrec.drained import without_forgotten, write_batch, write_forgotten
from avrec.serving.state import UserState
from avrec.store import Place


def drain(state: UserState, root: Place, max_rows: int = 10_000) -> int:
    """Write all that is in the state below `root`, and tell the state so; returns the events.

    A batch is let go only when its files are there, and written again under the same name when
    that was not told. Those to be forgotten go first, and are in no file after that.

    Raises:
        StateError: the state cannot be used; run it again.
    """
    count = 0
    forgotten = state.forgotten()
    write_forgotten(root, forgotten)
    while sealed := state.seal(max_rows):
        events = without_forgotten(sealed.events, forgotten)
        write_batch(root, sealed.number, events, without_forgotten(sealed.served, forgotten))
        state.drained(sealed.number)
        count += len(events)
    return count
