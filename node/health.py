"""Exit code 0 when a broker is in service, 1 when it is not: what a container's health check runs.

    python -P -m node.health [HOST:PORT [NODE_ID]]

In service means: the broker at HOST:PORT (127.0.0.1:9092) answers and names broker NODE_ID, or any broker at all,
among those that are alive. It imports little, as it runs every few seconds.
"""

import sys
from collections.abc import Sequence

from node.readiness import brokers_seen_by

DEFAULT_ADDRESS = "127.0.0.1:9092"


def main(arguments: Sequence[str]) -> int:
    """Returns the exit code; 2 when the arguments make no sense."""
    address = arguments[0] if arguments else DEFAULT_ADDRESS
    node_ids = list(arguments[1:])
    host, _, port = address.rpartition(":")
    if len(node_ids) > 1 or not all(text.isdigit() for text in [port, *node_ids]):
        print("usage: python -P -m node.health [HOST:PORT [NODE_ID]]", file=sys.stderr)
        return 2
    alive = brokers_seen_by(host.strip("[]"), int(port))
    if alive and alive.issuperset(map(int, node_ids)):
        return 0
    print(f"the broker at {address} does not answer or is not in service; it names {sorted(alive)}")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
