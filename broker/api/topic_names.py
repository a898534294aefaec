"""Names of topics: which are legal, and which belong to the brokers themselves.

Pure. Whether a legal name may become a topic is the controller's decision; this is for answers that need none.
"""

import re
from typing import Final

CONSUMER_OFFSETS: Final = "__consumer_offsets"
TRANSACTION_STATE: Final = "__transaction_state"

#: Logs of the coordinators: clients may read them, but neither create them nor write to them.
INTERNAL_TOPICS: Final = frozenset((CONSUMER_OFFSETS, TRANSACTION_STATE))

_LEGAL: Final = re.compile(r"[a-zA-Z0-9._-]{1,249}")


def is_legal_name(name: str) -> bool:
    """1 to 249 ASCII letters, digits, dots, underscores and dashes, but not "." or ".."."""
    return _LEGAL.fullmatch(name) is not None and name not in (".", "..")
