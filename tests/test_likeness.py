import numpy as np

from avrec.likeness import Likeness

VECTORS = np.array([[1, 0], [1, 0.1], [0, 1]], np.float32)


def test_an_item_is_most_like_another_of_the_history_never_itself():
    cause = Likeness([VECTORS]).cause(np.array([0, 2], np.int32), np.array([0, 1], np.int32))
    assert cause.items.tolist() == [2, 0]
    assert cause.cosines[0] == 0 < cause.cosines[1]


def test_a_history_of_the_item_alone_gives_no_cause():
    alone = np.array([1], np.int32)
    assert Likeness([VECTORS]).cause(alone, alone).cosines.tolist() == [-np.inf]
