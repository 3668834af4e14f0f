"""From the state to Parquet: each accepted event once, whoever is killed in between."""

import pyarrow as pa

from avrec.drained import GONE, Told, without_forgotten, write_batch, write_forgotten, write_items
from avrec.serving import catalogue
from avrec.serving.board import Board
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


def drain_items(board: Board, root: Place) -> Told:
    """Write what became of the catalogue below `root`, whole each time; returns it.

    Raises:
        StateError: the board cannot be used.
    """
    entries, number = [], 0
    while changed := board.since(number):
        items = [note for note in changed if note.name.startswith(catalogue.PREFIX)]
        entries += [catalogue.parse(note.text) for note in items]
        number = changed[-1].number
    gone = [one.item_id for one in entries if one.status == "deleted"]
    put = catalogue.table([one for one in entries if one.status != "deleted"])
    told = Told(put, pa.table([gone], schema=GONE))
    if entries:
        write_items(root, told)
    return told
