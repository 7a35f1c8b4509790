"""Which rows of a batch are which examples: a hash of each row that costs next to nothing."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

_SEED = 0x6B64
# Wider rows are hashed from evenly spaced words: two examples that differ nowhere there are not worth the time.
MAX_WORDS = 4096


def row_hashes(inputs: Tensor) -> Tensor:
    """[n] int64: a multilinear hash of the bytes of each row of [n, …], on the inputs' device.

    Meant to find the same rows again within one process; for hashes that are kept see ``fingerprinting``.
    """
    rows = inputs.detach().contiguous().reshape(len(inputs), -1)
    if rows.dtype == torch.bool:
        rows = rows.to(torch.uint8)
    words = rows.view(_WORDS[rows.element_size()]) if rows.element_size() in _WORDS else rows.view(torch.uint8)
    if words.shape[1] > MAX_WORDS:
        words = words[:, :: -(-words.shape[1] // MAX_WORDS)]
    factors = _factors(words.shape[1]).to(words.device)
    return (words.to(torch.int64) * factors).sum(1)


#: Integers of a float's size, so that its bits are hashed as they are.
_WORDS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


@lru_cache(maxsize=8)
def _factors(length: int) -> Tensor:
    drawn = torch.randint(-(2**62), 2**62, (length,), generator=torch.Generator().manual_seed(_SEED))
    return drawn * 2 + 1  # odd, so that no bit of a word is lost
