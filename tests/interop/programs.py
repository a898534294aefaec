"""Clients of other languages, each behind a small program of ours that speaks JSON lines.

    PROGRAM create BOOTSTRAP TOPIC PARTITIONS REPLICAS
    PROGRAM write BOOTSTRAP TOPIC       reads {acks, codec, partition, timestamp_ms, key, value, headers} from its input
    PROGRAM read BOOTSTRAP TOPIC...     prints {topic, partition, offset, timestamp_ms, key, value, headers}

Keys and values are base64 or null; headers is an array of [name, value].
"""

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.interop.corpus import Fetched, Record
from tests.interop.interface import REPLICATION_FACTOR, TIMEOUT_S, Client

HERE = Path(__file__).parent
TOOLS = HERE.parent.parent / ".tools"
KAFKA = TOOLS / "kafka-4.3.1"

#: A Java program that lives for a second needs neither the second compiler nor a parallel collector.
JAVA = ("java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx256m", "-cp", f"{KAFKA}/*:{KAFKA}/classes")

#: How long a program may take for all of its records.
PROGRAM_TIMEOUT_S = 4 * TIMEOUT_S


class ProgramFailed(Exception):
    """A program ended with another exit code than 0; the text holds what it wrote."""


def run_program(command: Sequence[str], stdin: bytes = b"", env: dict[str, str] | None = None) -> bytes:
    """What `command` wrote to its standard output. Raises ProgramFailed."""
    done = subprocess.run(
        command, input=stdin, capture_output=True, timeout=PROGRAM_TIMEOUT_S, env=os.environ | (env or {}), check=False
    )
    if done.returncode:
        text = (done.stdout[-2000:] + done.stderr[-2000:]).decode(errors="replace")
        raise ProgramFailed(f"{' '.join(command)}: exit code {done.returncode}\n{text}")
    return done.stdout


def missing_program(name: str) -> str | None:
    """Why a program of the path cannot be run, None when it can."""
    return None if shutil.which(name) else f"{name} is not installed: run tests/interop/install.sh"


def missing_folder(path: Path) -> str | None:
    return None if path.exists() else f"{path.relative_to(TOOLS.parent)} is not there: run tests/interop/install.sh"


class ProgramClient(Client):
    """A client of which `command` is the program."""

    command: Sequence[str]
    env: dict[str, str] | None = None

    def create_topic(self, bootstrap: str, topic: str) -> None:
        sizes = (str(self.partition_count), str(REPLICATION_FACTOR))
        run_program([*self.command, "create", bootstrap, topic, *sizes], env=self.env)

    def write(self, bootstrap: str, topic: str, records: Sequence[Record]) -> None:
        lines = "".join(json.dumps(_encode(record)) + "\n" for record in records)
        run_program([*self.command, "write", bootstrap, topic], lines.encode(), self.env)

    def read(self, bootstrap: str, topics: Sequence[str]) -> list[Fetched]:
        lines = run_program([*self.command, "read", bootstrap, *topics], env=self.env)
        return [_decode(line) for line in lines.splitlines()]


class Java(ProgramClient):
    """Apache Kafka's own client."""

    name = "java"
    command = (*JAVA, "Interop")

    def missing(self) -> str | None:
        return missing_program("java") or missing_folder(KAFKA / "classes")


class FranzGo(ProgramClient):
    name = "franz-go"
    command = (str(TOOLS / "go" / "franz"),)

    def missing(self) -> str | None:
        return missing_folder(TOOLS / "go" / "franz")


class Sarama(ProgramClient):
    name = "sarama"
    command = (str(TOOLS / "go" / "sarama"),)

    def missing(self) -> str | None:
        return missing_folder(TOOLS / "go" / "sarama")


class Kafkajs(ProgramClient):
    name = "kafkajs"
    command = ("node", str(HERE / "js" / "interop.js"))
    env = {"NODE_PATH": str(TOOLS / "js" / "node_modules")}

    def missing(self) -> str | None:
        return missing_program("node") or missing_folder(TOOLS / "js" / "node_modules")

    def can_write(self, record: Record) -> bool:
        return all(value is not None for _, value in record.headers)


def _encode(record: Record) -> dict[str, object]:
    return {
        "acks": record.acks,
        "codec": record.codec,
        "partition": record.partition,
        "timestamp_ms": record.timestamp_ms,
        "key": _to_base64(record.key),
        "value": _to_base64(record.value),
        "headers": [[name, _to_base64(value)] for name, value in record.headers],
    }


def _decode(line: bytes) -> Fetched:
    fields = json.loads(line)
    return Fetched(
        topic=fields["topic"],
        partition=fields["partition"],
        offset=fields["offset"],
        timestamp_ms=fields["timestamp_ms"],
        key=_from_base64(fields["key"]),
        value=_from_base64(fields["value"]),
        headers=tuple((name, _from_base64(value)) for name, value in fields["headers"]),
    )


def _to_base64(data: bytes | None) -> str | None:
    return None if data is None else base64.b64encode(data).decode()


def _from_base64(text: str | None) -> bytes | None:
    return None if text is None else base64.b64decode(text, validate=True)
