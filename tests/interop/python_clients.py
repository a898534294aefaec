"""The Kafka clients for Python, as writers and readers: confluent-kafka, kafka-python and aiokafka."""

import asyncio
from collections.abc import Sequence
from itertools import groupby

import aiokafka
import confluent_kafka
import kafka
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin import NewTopic as AiokafkaNewTopic
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from kafka.admin import KafkaAdminClient
from kafka.admin import NewTopic as KafkaPythonNewTopic

from tests.interop.corpus import PARTITION_COUNT, Fetched, Record
from tests.interop.interface import REPLICATION_FACTOR, TIMEOUT_S, Client


class ConfluentKafka(Client):
    """librdkafka in its newest version."""

    name = "confluent-kafka"
    #: librdkafka takes FindCoordinator for the sign of a broker that knows lz4, and sends others no compression.
    codecs_not_certain = ("lz4",)

    def create_topic(self, bootstrap: str, topic: str) -> None:
        admin = AdminClient({"bootstrap.servers": bootstrap})
        futures = admin.create_topics([NewTopic(topic, PARTITION_COUNT, REPLICATION_FACTOR)], request_timeout=TIMEOUT_S)
        futures[topic].result(TIMEOUT_S)

    def write(self, bootstrap: str, topic: str, records: Sequence[Record]) -> None:
        for (acks, codec), group in groupby(records, key=lambda record: (record.acks, record.codec)):
            producer = confluent_kafka.Producer(
                {
                    "bootstrap.servers": bootstrap,
                    "acks": acks,
                    "compression.type": codec,
                    "enable.idempotence": acks == "all",
                    "linger.ms": 5,
                }
            )
            reports = DeliveryReports()
            for record in group:
                producer.produce(
                    topic,
                    key=record.key,
                    value=record.value,
                    partition=record.partition,
                    timestamp=record.timestamp_ms,
                    headers=list(record.headers),
                    on_delivery=reports,
                )
            unsent = producer.flush(TIMEOUT_S)
            assert not unsent, f"{unsent} records with acks={acks} and {codec} were not sent"
            assert not reports.failures, reports.failures

    def read(self, bootstrap: str, topics: Sequence[str]) -> list[Fetched]:
        consumer = confluent_kafka.Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": "never joined: partitions are assigned by hand",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
            }
        )
        try:
            consumer.assign(
                [
                    confluent_kafka.TopicPartition(topic, partition, confluent_kafka.OFFSET_BEGINNING)
                    for topic in topics
                    for partition in consumer.list_topics(topic, timeout=TIMEOUT_S).topics[topic].partitions
                ]
            )
            return self._drain(consumer)
        finally:
            consumer.close()

    def _drain(self, consumer: confluent_kafka.Consumer) -> list[Fetched]:
        unfinished = len(consumer.assignment())
        fetched = []
        while unfinished:
            message = consumer.poll(TIMEOUT_S)
            assert message is not None, f"{unfinished} partitions gave nothing more for {TIMEOUT_S} s"
            error = message.error()
            if error is not None:
                assert error.code() == confluent_kafka.KafkaError._PARTITION_EOF, error
                unfinished -= 1
                continue
            fetched.append(_fetched(message))
        return fetched


class DeliveryReports:
    """Collects the failures among them."""

    def __init__(self) -> None:
        self.failures: list[confluent_kafka.KafkaError] = []

    def __call__(self, error: confluent_kafka.KafkaError | None, message: confluent_kafka.Message) -> None:
        if error is not None:
            self.failures.append(error)


def _fetched(message: confluent_kafka.Message) -> Fetched:
    topic, partition, offset = message.topic(), message.partition(), message.offset()
    headers = message.headers() or []
    assert topic is not None
    assert partition is not None
    assert offset is not None
    assert isinstance(headers, list)
    return Fetched(
        topic=topic,
        partition=partition,
        offset=offset,
        timestamp_ms=message.timestamp()[1],
        key=message.key(),
        value=message.value(),
        headers=tuple((name, value.encode() if isinstance(value, str) else value) for name, value in headers),
    )


class KafkaPython(Client):
    name = "kafka-python"

    def can_write(self, record: Record) -> bool:
        return all(value is not None for _, value in record.headers)

    def create_topic(self, bootstrap: str, topic: str) -> None:
        admin = KafkaAdminClient(bootstrap_servers=bootstrap.split(","))
        try:
            admin.create_topics([KafkaPythonNewTopic(topic, PARTITION_COUNT, REPLICATION_FACTOR)])
        finally:
            admin.close()

    def write(self, bootstrap: str, topic: str, records: Sequence[Record]) -> None:
        for (acks, codec), group in groupby(records, key=lambda record: (record.acks, record.codec)):
            producer = kafka.KafkaProducer(
                bootstrap_servers=bootstrap.split(","),
                acks="all" if acks == "all" else int(acks),
                compression_type=None if codec == "none" else codec,
                enable_idempotence=acks == "all",
                linger_ms=5,
            )
            try:
                futures = [
                    producer.send(
                        topic,
                        key=record.key,
                        value=record.value,
                        partition=record.partition,
                        timestamp_ms=record.timestamp_ms,
                        headers=list(record.headers),
                    )
                    for record in group
                ]
                producer.flush(TIMEOUT_S)
                for future in futures:
                    future.get(TIMEOUT_S)
            finally:
                producer.close()

    def read(self, bootstrap: str, topics: Sequence[str]) -> list[Fetched]:
        consumer = kafka.KafkaConsumer(
            bootstrap_servers=bootstrap.split(","), group_id=None, consumer_timeout_ms=TIMEOUT_S * 1000
        )
        try:
            partitions = [
                kafka.TopicPartition(topic, partition)
                for topic in topics
                for partition in consumer.partitions_for_topic(topic)
            ]
            consumer.assign(partitions)
            consumer.seek_to_beginning()
            missing = sum(consumer.end_offsets(partitions).values())
            fetched = []
            while missing:
                message = next(consumer)
                missing -= 1
                fetched.append(
                    Fetched(
                        topic=message.topic,
                        partition=message.partition,
                        offset=message.offset,
                        timestamp_ms=message.timestamp,
                        key=message.key,
                        value=message.value,
                        headers=tuple(message.headers),
                    )
                )
            return fetched
        finally:
            consumer.close()


class Aiokafka(Client):
    name = "aiokafka"

    def create_topic(self, bootstrap: str, topic: str) -> None:
        asyncio.run(self._create_topic(bootstrap, topic))

    async def _create_topic(self, bootstrap: str, topic: str) -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap.split(","))
        await admin.start()
        try:
            response = await admin.create_topics([AiokafkaNewTopic(topic, PARTITION_COUNT, REPLICATION_FACTOR)])
            assert all(error[1] == 0 for error in response.topic_errors), response
        finally:
            await admin.close()

    def write(self, bootstrap: str, topic: str, records: Sequence[Record]) -> None:
        asyncio.run(self._write(bootstrap, topic, records))

    async def _write(self, bootstrap: str, topic: str, records: Sequence[Record]) -> None:
        for (acks, codec), group in groupby(records, key=lambda record: (record.acks, record.codec)):
            producer = aiokafka.AIOKafkaProducer(
                bootstrap_servers=bootstrap.split(","),
                acks="all" if acks == "all" else int(acks),
                compression_type=None if codec == "none" else codec,
                enable_idempotence=acks == "all",
                linger_ms=5,
            )
            await producer.start()
            try:
                futures = [
                    await producer.send(
                        topic,
                        key=record.key,
                        value=record.value,
                        partition=record.partition,
                        timestamp_ms=record.timestamp_ms,
                        headers=list(record.headers),
                    )
                    for record in group
                ]
                await asyncio.wait_for(asyncio.gather(*futures), TIMEOUT_S)
            finally:
                await producer.stop()

    def read(self, bootstrap: str, topics: Sequence[str]) -> list[Fetched]:
        return asyncio.run(self._read(bootstrap, topics))

    async def _read(self, bootstrap: str, topics: Sequence[str]) -> list[Fetched]:
        consumer = aiokafka.AIOKafkaConsumer(
            *topics, bootstrap_servers=bootstrap.split(","), group_id=None, auto_offset_reset="earliest"
        )
        await consumer.start()
        try:
            partitions = sorted(consumer.assignment())
            missing = sum((await consumer.end_offsets(partitions)).values())
            fetched = []
            while missing:
                message = await asyncio.wait_for(consumer.getone(), TIMEOUT_S)
                missing -= 1
                fetched.append(
                    Fetched(
                        topic=message.topic,
                        partition=message.partition,
                        offset=message.offset,
                        timestamp_ms=message.timestamp,
                        key=message.key,
                        value=message.value,
                        headers=tuple(message.headers),
                    )
                )
            return fetched
        finally:
            await consumer.stop()
