"""What the processes of a node write about themselves: one line an event, to standard error."""

import logging
import sys


def set_up_logging(name: str, level: int = logging.INFO) -> None:
    """Every line says when, how important, which process and which module."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        logging.Formatter(
            f"%(asctime)s.%(msecs)03d %(levelname)-8s {name} %(name)s: %(message)s", datefmt="%Y-%m-%dT%H:%M:%S"
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    # pysyncobj tells of its own doings at every tick of an election; the overlay reports what matters.
    logging.getLogger("pysyncobj").setLevel(logging.CRITICAL)
