"""What goes wrong between a client and a cluster, in words: what happened, why, what to do about it.

Owns the one exception of this library and the table of sentences behind Kafka's error codes. Never decides whether to
try again: `retry` does. Source: the protocol guide's table of error codes.
"""

from typing import Final

from cluster.errors import ErrorCode, KafkaError


class ClientError(KafkaError):
    """A failure that a user of this library gets to hear.

    `subject` is what it is about ("orders", "orders/0", "broker 127.0.0.1:9092"), `message` what happened and why,
    `advice` what to do; each may be empty. As text: `CODE subject: message -> advice`.
    """

    def __init__(self, code: ErrorCode, message: str = "", *, subject: str = "", advice: str = "") -> None:
        super().__init__(code, message)
        self.subject = subject
        self.advice = advice

    def __str__(self) -> str:
        head = f"{self.code.name} {self.subject}" if self.subject else self.code.name
        text = f"{head}: {self.message}" if self.message else head
        return f"{text} -> {self.advice}" if self.advice else text

    def with_message(self, message: str) -> "ClientError":
        """The same failure, told in another sentence."""
        return ClientError(self.code, message, subject=self.subject, advice=self.advice)


_DENIED: Final = "ask an administrator for the permission, or use other credentials"
_ELECTION: Final = "wait for the election; if it lasts, look at the health of the cluster"
_SAME_PRODUCER: Final = "make a new producer; do not share one producer id between two of them"

#: What a code means, and what to do. A sentence that the broker sent stands in place of the first.
_TEXTS: Final[dict[ErrorCode, tuple[str, str]]] = {
    ErrorCode.UNKNOWN_SERVER_ERROR: (
        "the broker failed in a way that has no code of its own",
        "look into the broker's log",
    ),
    ErrorCode.OFFSET_OUT_OF_RANGE: (
        "this offset is not in the log: older records were deleted, or the log does not reach so far",
        "seek to the beginning or the end, or set auto.offset.reset",
    ),
    ErrorCode.CORRUPT_MESSAGE: (
        "a record batch does not match its checksum or its length",
        "send it again; if it happens while reading, suspect the disk of the leader",
    ),
    ErrorCode.UNKNOWN_TOPIC_OR_PARTITION: (
        "there is no such topic or partition",
        "check the name and the number, or create the topic first",
    ),
    ErrorCode.LEADER_NOT_AVAILABLE: ("the partition has no leader", _ELECTION),
    ErrorCode.NOT_LEADER_OR_FOLLOWER: ("the broker that was asked no longer leads the partition", _ELECTION),
    ErrorCode.REQUEST_TIMED_OUT: (
        "the broker could not finish in the time that the request gave it; it may still finish later",
        "look whether it happened before you ask again, or allow more time",
    ),
    ErrorCode.MESSAGE_TOO_LARGE: (
        "a record batch is larger than the topic's max.message.bytes",
        "send smaller records or smaller batches (batch.size), or raise max.message.bytes of the topic",
    ),
    ErrorCode.NETWORK_EXCEPTION: (
        "the connection to the broker was lost before it answered",
        "check that the broker runs and that its advertised address can be reached from here",
    ),
    ErrorCode.INVALID_TOPIC_EXCEPTION: (
        "this is not a name for a topic",
        "use 1 to 249 characters out of a-z A-Z 0-9 . _ - that are not . or .. alone, nor an internal topic's name",
    ),
    ErrorCode.RECORD_LIST_TOO_LARGE: (
        "a record batch is larger than a segment of the topic",
        "send smaller batches, or raise segment.bytes of the topic",
    ),
    ErrorCode.NOT_ENOUGH_REPLICAS: (
        "fewer replicas are in sync than min.insync.replicas asks for, so nothing was written",
        "bring the missing brokers back; lowering min.insync.replicas trades safety for availability",
    ),
    ErrorCode.NOT_ENOUGH_REPLICAS_AFTER_APPEND: (
        "fewer replicas are in sync than min.insync.replicas asks for; the leader has written the records all the same",
        "bring the missing brokers back, and expect the records to appear",
    ),
    ErrorCode.TOPIC_AUTHORIZATION_FAILED: ("this user may not do this with the topic", _DENIED),
    ErrorCode.GROUP_AUTHORIZATION_FAILED: ("this user may not use the group", _DENIED),
    ErrorCode.CLUSTER_AUTHORIZATION_FAILED: ("this user may not do this with the cluster", _DENIED),
    ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED: ("this user may not use the transactional id", _DENIED),
    ErrorCode.SASL_AUTHENTICATION_FAILED: ("the broker did not accept the credentials", "check user and password"),
    ErrorCode.INVALID_TIMESTAMP: (
        "a timestamp lies outside of what the topic accepts",
        "check the clock, or the topic's message.timestamp.before.max.ms and message.timestamp.after.max.ms",
    ),
    ErrorCode.UNSUPPORTED_VERSION: (
        "the broker does not offer this operation in a version that this client knows",
        "use a newer broker, or leave out the option that needs it",
    ),
    ErrorCode.TOPIC_ALREADY_EXISTS: (
        "a topic of this name exists already",
        "choose another name, or use the topic that is there",
    ),
    ErrorCode.INVALID_PARTITIONS: (
        "this number of partitions is not possible",
        "give at least 1, and more than there are when adding: partitions cannot be taken away",
    ),
    ErrorCode.INVALID_REPLICATION_FACTOR: (
        "this replication factor is not possible",
        "give at least 1 and at most as many as there are brokers alive",
    ),
    ErrorCode.INVALID_CONFIG: ("a configuration key or its value is not valid", "check its name and its bounds"),
    ErrorCode.INVALID_REQUEST: ("the broker does not accept the request as it was sent", "check the arguments"),
    ErrorCode.POLICY_VIOLATION: ("a policy of the cluster forbids this", "ask its administrator which one"),
    ErrorCode.NOT_CONTROLLER: ("the broker that was asked is not the controller", _ELECTION),
    ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER: (
        "the leader lacks records that it had acknowledged before these",
        "look for an unclean leader election or a lost disk; the lost records have to be sent again",
    ),
    ErrorCode.INVALID_PRODUCER_EPOCH: ("a newer producer took over this producer's id", _SAME_PRODUCER),
    ErrorCode.PRODUCER_FENCED: ("a newer producer took over this producer's id", _SAME_PRODUCER),
    ErrorCode.SECURITY_DISABLED: ("the cluster has no authorizer", "configure one before you ask it about permissions"),
    ErrorCode.KAFKA_STORAGE_ERROR: (
        "the broker cannot use the disk that holds the partition",
        "look into the broker's log; another replica takes over when there is one",
    ),
    ErrorCode.TOPIC_DELETION_DISABLED: (
        "the cluster does not delete topics",
        "set delete.topic.enable=true on its brokers",
    ),
    ErrorCode.UNSUPPORTED_COMPRESSION_TYPE: (
        "the broker does not know this compression",
        "choose another compression.type",
    ),
    ErrorCode.OFFSET_NOT_AVAILABLE: ("the new leader does not know yet how far the log is committed", _ELECTION),
    ErrorCode.INVALID_RECORD: (
        "the topic does not accept a record of the batch",
        "give every record of a compacted topic a key; look at the sentence of the broker",
    ),
    ErrorCode.THROTTLING_QUOTA_EXCEEDED: ("a quota is used up", "wait, or ask for a larger one"),
    ErrorCode.UNKNOWN_TOPIC_ID: ("the topic was deleted, and perhaps created again", "look the topic up again"),
}

#: How a sentence of Kafka's brokers begins that stands for "unknown topic" and does not say so.
_SAYS_NOTHING: Final = "This server does not host this topic"


def error_code(number: int) -> ErrorCode:
    """The code of a response; a number that Kafka did not have when this was written is UNKNOWN_SERVER_ERROR."""
    try:
        return ErrorCode(number)
    except ValueError:
        return ErrorCode.UNKNOWN_SERVER_ERROR


def failure(number: int, subject: str = "", detail: str | None = None) -> ClientError:
    """The exception for an error code of a response; `detail` is the sentence that the broker sent with it, if any."""
    code = error_code(number)
    meaning, advice = _TEXTS.get(code, ("", ""))
    told = (detail or "").strip().rstrip(".")
    if told.startswith(_SAYS_NOTHING):
        told = ""
    message = told or meaning
    if code != number:
        message = f"{message} (error code {number})"
    return ClientError(code, message, subject=subject, advice=advice)


def disconnected(subject: str, reason: str) -> ClientError:
    """No answer, because there is no connection or there no longer is one."""
    code = ErrorCode.NETWORK_EXCEPTION
    return ClientError(code, reason, subject=subject, advice=_TEXTS[code][1])


def timed_out(
    subject: str, reason: str, advice: str = "allow more time, or look at the health of the broker"
) -> ClientError:
    """No answer within the time that was given."""
    return ClientError(ErrorCode.REQUEST_TIMED_OUT, reason, subject=subject, advice=advice)
