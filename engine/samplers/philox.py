"""Philox4x32-10, a counter-based generator (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3")."""

from __future__ import annotations

import numpy as np

MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
KEY_STEPS = (0x9E3779B9, 0xBB67AE85)  # golden ratio, sqrt(3) - 1
ROUNDS = 10
_WORD = 0xFFFFFFFF


def philox(counters: np.ndarray, key: tuple[int, int]) -> np.ndarray:
    """Four random words for each counter.

    counters  [n, 4] uint32
    key       two words
    returns   [n, 4] uint32, a function of counter and key alone
    """
    word0, word1, word2, word3 = (counters[:, lane].astype(np.uint64) for lane in range(4))
    key0, key1 = key
    for _ in range(ROUNDS):
        product0 = np.uint64(MULTIPLIERS[0]) * word0
        product1 = np.uint64(MULTIPLIERS[1]) * word2
        word0 = (product1 >> np.uint64(32)) ^ word1 ^ np.uint64(key0)
        word1 = product1 & np.uint64(_WORD)
        word2 = (product0 >> np.uint64(32)) ^ word3 ^ np.uint64(key1)
        word3 = product0 & np.uint64(_WORD)
        key0, key1 = (key0 + KEY_STEPS[0]) & _WORD, (key1 + KEY_STEPS[1]) & _WORD
    return np.stack((word0, word1, word2, word3), axis=1).astype(np.uint32)
