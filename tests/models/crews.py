"""A crew whose workers are threads of this process."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Barrier

from avrec.models.training import Crew


def crews(size):
    """What each of `size` workers sees; all of them must call `swap` as often."""
    sent, barrier = [[] for _ in range(size)], Barrier(size, timeout=60)

    def swap(rank, parts):
        sent[rank] = list(parts)
        barrier.wait()
        got = [sent[other][rank].detach().clone() for other in range(size)]
        barrier.wait()
        return got

    return [Crew(rank, size, swap=partial(swap, rank)) for rank in range(size)]


def together(work, members):
    """What `work` gives for each member, all at once."""
    with ThreadPoolExecutor(len(members)) as pool:
        return list(pool.map(work, members))
