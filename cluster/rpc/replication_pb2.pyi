from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class FollowerFrame(_message.Message):
    __slots__ = ("hello", "subscribe", "unsubscribe", "ack_handles", "ack_offsets")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    SUBSCRIBE_FIELD_NUMBER: _ClassVar[int]
    UNSUBSCRIBE_FIELD_NUMBER: _ClassVar[int]
    ACK_HANDLES_FIELD_NUMBER: _ClassVar[int]
    ACK_OFFSETS_FIELD_NUMBER: _ClassVar[int]
    hello: Hello
    subscribe: _containers.RepeatedCompositeFieldContainer[Subscribe]
    unsubscribe: _containers.RepeatedScalarFieldContainer[int]
    ack_handles: _containers.RepeatedScalarFieldContainer[int]
    ack_offsets: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, hello: _Optional[_Union[Hello, _Mapping]] = ..., subscribe: _Optional[_Iterable[_Union[Subscribe, _Mapping]]] = ..., unsubscribe: _Optional[_Iterable[int]] = ..., ack_handles: _Optional[_Iterable[int]] = ..., ack_offsets: _Optional[_Iterable[int]] = ...) -> None: ...

class Hello(_message.Message):
    __slots__ = ("broker_id", "broker_epoch")
    BROKER_ID_FIELD_NUMBER: _ClassVar[int]
    BROKER_EPOCH_FIELD_NUMBER: _ClassVar[int]
    broker_id: int
    broker_epoch: int
    def __init__(self, broker_id: _Optional[int] = ..., broker_epoch: _Optional[int] = ...) -> None: ...

class Subscribe(_message.Message):
    __slots__ = ("handle", "topic_id", "partition", "leader_epoch", "end_offset", "last_epoch", "acked_offset")
    HANDLE_FIELD_NUMBER: _ClassVar[int]
    TOPIC_ID_FIELD_NUMBER: _ClassVar[int]
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    LEADER_EPOCH_FIELD_NUMBER: _ClassVar[int]
    END_OFFSET_FIELD_NUMBER: _ClassVar[int]
    LAST_EPOCH_FIELD_NUMBER: _ClassVar[int]
    ACKED_OFFSET_FIELD_NUMBER: _ClassVar[int]
    handle: int
    topic_id: bytes
    partition: int
    leader_epoch: int
    end_offset: int
    last_epoch: int
    acked_offset: int
    def __init__(self, handle: _Optional[int] = ..., topic_id: _Optional[bytes] = ..., partition: _Optional[int] = ..., leader_epoch: _Optional[int] = ..., end_offset: _Optional[int] = ..., last_epoch: _Optional[int] = ..., acked_offset: _Optional[int] = ...) -> None: ...

class LeaderFrame(_message.Message):
    __slots__ = ("handles", "high_watermarks", "log_start_offsets", "lengths", "refusals")
    HANDLES_FIELD_NUMBER: _ClassVar[int]
    HIGH_WATERMARKS_FIELD_NUMBER: _ClassVar[int]
    LOG_START_OFFSETS_FIELD_NUMBER: _ClassVar[int]
    LENGTHS_FIELD_NUMBER: _ClassVar[int]
    REFUSALS_FIELD_NUMBER: _ClassVar[int]
    handles: _containers.RepeatedScalarFieldContainer[int]
    high_watermarks: _containers.RepeatedScalarFieldContainer[int]
    log_start_offsets: _containers.RepeatedScalarFieldContainer[int]
    lengths: _containers.RepeatedScalarFieldContainer[int]
    refusals: _containers.RepeatedCompositeFieldContainer[Refusal]
    def __init__(self, handles: _Optional[_Iterable[int]] = ..., high_watermarks: _Optional[_Iterable[int]] = ..., log_start_offsets: _Optional[_Iterable[int]] = ..., lengths: _Optional[_Iterable[int]] = ..., refusals: _Optional[_Iterable[_Union[Refusal, _Mapping]]] = ...) -> None: ...

class Refusal(_message.Message):
    __slots__ = ("handle", "error_code", "diverging", "diverging_epoch", "diverging_end_offset", "log_start_offset")
    HANDLE_FIELD_NUMBER: _ClassVar[int]
    ERROR_CODE_FIELD_NUMBER: _ClassVar[int]
    DIVERGING_FIELD_NUMBER: _ClassVar[int]
    DIVERGING_EPOCH_FIELD_NUMBER: _ClassVar[int]
    DIVERGING_END_OFFSET_FIELD_NUMBER: _ClassVar[int]
    LOG_START_OFFSET_FIELD_NUMBER: _ClassVar[int]
    handle: int
    error_code: int
    diverging: bool
    diverging_epoch: int
    diverging_end_offset: int
    log_start_offset: int
    def __init__(self, handle: _Optional[int] = ..., error_code: _Optional[int] = ..., diverging: _Optional[bool] = ..., diverging_epoch: _Optional[int] = ..., diverging_end_offset: _Optional[int] = ..., log_start_offset: _Optional[int] = ...) -> None: ...
