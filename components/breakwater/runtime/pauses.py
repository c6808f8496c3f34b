"""Pauses of the garbage collector, during which no gate closes and no exit goes out."""

from __future__ import annotations

import gc


def spare_what_is_there() -> None:
    """Take everything that exists now out of later collections: modules, schemas, the venue's markets live as long as we do.

    A full collection stops the process for as long as it looks at objects: with the exchange client loaded some 0.1 s, and
    nearly nothing afterwards. To be called when all is loaded, before anybody relies on the process, and once more when it has
    started. What becomes garbage later is collected as ever; cycles among what is spared are not.
    """
    gc.collect()
    gc.freeze()
