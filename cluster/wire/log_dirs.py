"""The table of DescribeLogDirs: the sizes of replicas and of the disks below them.

Source: KIP-113, KIP-827 (disk sizes).
"""

from __future__ import annotations

from cluster.wire.schema import Api, Array, Request, Response, Struct, field, int16, int32, int64

#: v2 flexible, v3 a top-level error (KIP-784), v4 sizes of the disk (KIP-827), v5 is_cordoned (KIP-1066).
DESCRIBE_LOG_DIRS = Api(35, "DescribeLogDirs", versions="1-5", flexible="2+")


class DescribeLogDirsRequest(Request["DescribeLogDirsResponse"], api=DESCRIBE_LOG_DIRS):
    topics: Array[DescribableLogDirTopic] | None = field("0+", nullable="0+")


class DescribableLogDirTopic(Struct):
    topic: str = field("0+")
    partitions: Array[int32] = field("0+")


class DescribeLogDirsResponse(Response, api=DESCRIBE_LOG_DIRS):
    throttle_time_ms: int32 = field("0+")
    error_code: int16 = field("3+")
    results: Array[DescribeLogDirsResult] = field("0+")


class DescribeLogDirsResult(Struct):
    error_code: int16 = field("0+")
    log_dir: str = field("0+")
    topics: Array[DescribeLogDirsTopic] = field("0+")
    total_bytes: int64 = field("4+", default=-1)
    usable_bytes: int64 = field("4+", default=-1)
    is_cordoned: bool = field("5+")


class DescribeLogDirsTopic(Struct):
    name: str = field("0+")
    partitions: Array[DescribeLogDirsPartition] = field("0+")


class DescribeLogDirsPartition(Struct):
    partition_index: int32 = field("0+")
    partition_size: int64 = field("0+")
    offset_lag: int64 = field("0+")
    is_future_key: bool = field("0+")
