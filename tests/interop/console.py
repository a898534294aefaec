"""Kafka's console producer and console consumer, with nothing but their command lines.

The producer cannot choose a partition, so its topic has one. Each call costs a Java virtual machine: so there is one
for each codec, and the consumer reads one partition of each topic.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby

import confluent_kafka

from tests.interop.corpus import Fetched, Headers, Record
from tests.interop.interface import REPLICATION_FACTOR, TIMEOUT_S, Client
from tests.interop.programs import JAVA, KAFKA, missing_folder, missing_program, run_program

#: Separators and marks that no record of the corpus holds, also not the binary one.
_NULL = "<null>"
_FIELD_END = "<field>"
_HEADER_END = "<header>"
_NAME_END = "<name>"
_RECORD_END = "<record>"

#: The one call with each codec. The one without acknowledgements comes last: nothing can overtake it.
_ACKS = {"none": "all", "gzip": "all", "lz4": "all", "snappy": "1", "zstd": "0"}

#: The partition that holds all codecs.
_PARTITION = 0


def tool(name: str, *arguments: str) -> list[str]:
    """The command line of one of Kafka's tools, by the name of its class."""
    return [*JAVA, name, *arguments]


class Console(Client):
    name = "console"
    partition_count = 1
    sets_timestamps = False

    def missing(self) -> str | None:
        return missing_program("java") or missing_folder(KAFKA)

    def partition_of(self, acks: str, codec: str) -> int:
        return _PARTITION

    def can_write(self, record: Record) -> bool:
        if _ACKS[record.codec] != record.acks:
            return False
        fields = [record.key, record.value, *(value for _, value in record.headers)]
        return all(field is None or _is_line(field) for field in fields)

    def can_read(self, partition: int) -> bool:
        return partition == _PARTITION

    def create_topic(self, bootstrap: str, topic: str) -> None:
        sizes = ("--partitions", str(self.partition_count), "--replication-factor", str(REPLICATION_FACTOR))
        server = ("--bootstrap-server", bootstrap)
        run_program(tool("org.apache.kafka.tools.TopicCommand", *server, "--create", "--topic", topic, *sizes))

    def write(self, bootstrap: str, topic: str, records: Sequence[Record]) -> None:
        properties = {
            "parse.headers": "true",
            "parse.key": "true",
            "headers.delimiter": _FIELD_END,
            "headers.separator": _HEADER_END,
            "headers.key.separator": _NAME_END,
            "key.separator": _FIELD_END,
            "null.marker": _NULL,
        }
        command = tool("org.apache.kafka.tools.ConsoleProducer", "--bootstrap-server", bootstrap, "--topic", topic)
        command += ["--timeout", "5"]
        for name, value in properties.items():
            command += ["--reader-property", f"{name}={value}"]
        for (acks, codec), run in groupby(records, lambda record: (record.acks, record.codec)):
            lines = b"".join(_line(record) for record in run)
            run_program([*command, "--compression-codec", codec, "--request-required-acks", acks], lines)

    def read(self, bootstrap: str, topics: Sequence[str]) -> list[Fetched]:
        properties = {
            "print.timestamp": "true",
            "print.offset": "true",
            "print.headers": "true",
            "print.key": "true",
            "key.separator": _FIELD_END,
            "headers.separator": _HEADER_END,
            "line.separator": _RECORD_END,
            "null.literal": _NULL,
        }
        command = tool("org.apache.kafka.tools.consumer.ConsoleConsumer", "--bootstrap-server", bootstrap)
        command += ["--partition", str(_PARTITION), "--offset", "earliest", "--timeout-ms", str(TIMEOUT_S * 1000)]
        for name, value in properties.items():
            command += ["--formatter-property", f"{name}={value}"]
        fetched: list[Fetched] = []
        for topic in topics:
            count = _end_offset(bootstrap, topic)
            fetched += _parse(topic, run_program([*command, "--topic", topic, "--max-messages", str(count)]))
        return fetched


def _is_line(field: bytes) -> bool:
    try:
        return field.decode().isprintable()
    except UnicodeDecodeError:
        return False


def _line(record: Record) -> bytes:
    null = _NULL.encode()
    headers = [
        name.encode() + _NAME_END.encode() + (null if value is None else value) for name, value in record.headers
    ]
    fields = [
        _HEADER_END.encode().join(headers) if headers else null,
        null if record.key is None else record.key,
        null if record.value is None else record.value,
    ]
    return _FIELD_END.encode().join(fields) + b"\n"


def _end_offset(bootstrap: str, topic: str) -> int:
    consumer = confluent_kafka.Consumer({"bootstrap.servers": bootstrap, "group.id": "unused"})
    try:
        partition = confluent_kafka.TopicPartition(topic, _PARTITION)
        _, end = consumer.get_watermark_offsets(partition, timeout=TIMEOUT_S)
        return int(end)
    finally:
        consumer.close()


def _parse(topic: str, output: bytes) -> Iterator[Fetched]:
    null = _NULL.encode()
    for record in output.split(_RECORD_END.encode())[:-1]:
        timestamp, offset, headers, key, value = record.split(_FIELD_END.encode(), 4)
        yield Fetched(
            topic=topic,
            partition=_PARTITION,
            offset=int(offset.removeprefix(b"Offset:")),
            timestamp_ms=int(timestamp.removeprefix(b"CreateTime:")),
            key=None if key == null else key,
            value=None if value == null else value,
            headers=_parse_headers(headers),
        )


def _parse_headers(text: bytes) -> Headers:
    """The consumer has no separator to be chosen between name and value; no name of the corpus holds a colon."""
    if text == b"NO_HEADERS":
        return ()
    pairs = (pair.partition(b":") for pair in text.split(_HEADER_END.encode()))
    return tuple((name.decode(), None if value == _NULL.encode() else value) for name, _, value in pairs)
