"""kcat, which is librdkafka of 2023, as a writer and a reader.

Its command line gives all records of one call the same headers, and has one way to say null for keys and another for
values; so one (acks, codec) takes several calls. It sets no timestamps and makes no topics.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby

from tests.interop.corpus import Fetched, Headers, Record
from tests.interop.interface import Client
from tests.interop.programs import missing_program, run_program
from tests.interop.python_clients import ConfluentKafka

_FIELD_END = b"\x1f"
_RECORD_END = b"\x1e"

#: Numbers first, as keys and values may hold any byte; headers last, as %h has no length.
_FORMAT = r"%p %o %T %K %S\n%k%s%h\x1e"


class Kcat(Client):
    name = "kcat"
    codecs_not_certain = ConfluentKafka.codecs_not_certain
    sets_timestamps = False

    def missing(self) -> str | None:
        return missing_program("kcat")

    def can_write(self, record: Record) -> bool:
        data = (record.key or b"") + (record.value or b"")
        if record.key == b"" or _FIELD_END in data or any(not _is_text(value) for _, value in record.headers):
            return False
        # Records without acknowledgement must all be in one call: nothing keeps the next one from overtaking it.
        return record.acks != "0" or _call_of(record) == ((), False, False)

    def create_topic(self, bootstrap: str, topic: str) -> None:
        ConfluentKafka().create_topic(bootstrap, topic)

    def write(self, bootstrap: str, topic: str, records: Sequence[Record]) -> None:
        for (acks, codec, partition), same_producer in groupby(records, lambda r: (r.acks, r.codec, r.partition)):
            for (headers, null_key, null_value), run in groupby(same_producer, _call_of):
                command = ["kcat", "-P", "-b", bootstrap, "-t", topic, "-p", str(partition), "-z", codec]
                command += ["-X", f"acks={acks}", "-X", f"enable.idempotence={str(acks == 'all').lower()}"]
                command += ["-D", _RECORD_END.decode()]
                command += [] if null_key else ["-K", _FIELD_END.decode()]
                command += ["-Z"] if null_value else []
                for name, value in headers:
                    command += ["-H", f"{name}={(value or b'').decode()}"]
                lines = [(b"" if null_key else (r.key or b"") + _FIELD_END) + (r.value or b"") for r in run]
                run_program(command, _RECORD_END.join(lines))

    def read(self, bootstrap: str, topics: Sequence[str]) -> list[Fetched]:
        fetched: list[Fetched] = []
        for topic in topics:
            command = ["kcat", "-C", "-q", "-e", "-b", bootstrap, "-t", topic, "-o", "beginning", "-f", _FORMAT]
            fetched += _parse(topic, run_program(command))
        return fetched


def _call_of(record: Record) -> tuple[Headers, bool, bool]:
    """What must be equal in the records of one call: headers, whether keys are null, whether values are null."""
    return record.headers, record.key is None, record.value is None


def _is_text(value: bytes | None) -> bool:
    if not value:
        return False
    try:
        return value.decode().isprintable()
    except UnicodeDecodeError:
        return False


def _parse(topic: str, output: bytes) -> Iterator[Fetched]:
    position = 0
    while position < len(output):
        line_end = output.index(b"\n", position)
        partition, offset, timestamp_ms, key_size, value_size = map(int, output[position:line_end].split())
        key_end = line_end + 1 + max(key_size, 0)
        value_end = key_end + max(value_size, 0)
        record_end = output.index(_RECORD_END, value_end)
        yield Fetched(
            topic=topic,
            partition=partition,
            offset=offset,
            timestamp_ms=timestamp_ms,
            key=None if key_size < 0 else output[line_end + 1 : key_end],
            value=None if value_size < 0 else output[key_end:value_end],
            headers=_parse_headers(output[value_end:record_end]),
        )
        position = record_end + 1


def _parse_headers(text: bytes) -> Headers:
    """name=value,name=value; no name or value of the corpus holds a comma, and a null value is the word NULL."""
    if not text:
        return ()
    pairs = (pair.partition(b"=") for pair in text.split(b","))
    return tuple((name.decode(), None if value == b"NULL" else value) for name, _, value in pairs)
