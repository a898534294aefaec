"""The tables of configuration: DescribeConfigs, AlterConfigs, IncrementalAlterConfigs.

Source: KIP-133, KIP-226 (synonyms), KIP-339 (incremental), KIP-569 (types and documentation).
"""

from __future__ import annotations

from cluster.wire.schema import Api, Array, Request, Response, Struct, field, int8, int16, int32

#: v1 config_source and synonyms (KIP-226), v3 types and documentation (KIP-569), v4 flexible.
DESCRIBE_CONFIGS = Api(32, "DescribeConfigs", versions="0-4", flexible="4+")


class DescribeConfigsRequest(Request["DescribeConfigsResponse"], api=DESCRIBE_CONFIGS):
    resources: Array[DescribeConfigsResource] = field("0+")
    include_synonyms: bool = field("1+")
    include_documentation: bool = field("3+")


class DescribeConfigsResource(Struct):
    resource_type: int8 = field("0+")
    resource_name: str = field("0+")
    configuration_keys: Array[str] | None = field("0+", nullable="0+")


class DescribeConfigsResponse(Response, api=DESCRIBE_CONFIGS):
    throttle_time_ms: int32 = field("0+")
    results: Array[DescribeConfigsResult] = field("0+")


class DescribeConfigsResult(Struct):
    error_code: int16 = field("0+")
    error_message: str | None = field("0+", nullable="0+")
    resource_type: int8 = field("0+")
    resource_name: str = field("0+")
    configs: Array[DescribeConfigsResourceResult] = field("0+")


class DescribeConfigsResourceResult(Struct):
    name: str = field("0+")
    value: str | None = field("0+", nullable="0+")
    read_only: bool = field("0+")
    is_default: bool = field("0")
    config_source: int8 = field("1+", default=-1)
    is_sensitive: bool = field("0+")
    synonyms: Array[DescribeConfigsSynonym] = field("1+")
    config_type: int8 = field("3+")
    documentation: str | None = field("3+", nullable="0+")


class DescribeConfigsSynonym(Struct):
    name: str = field("1+")
    value: str | None = field("1+", nullable="0+")
    source: int8 = field("1+")


#: Replaces the whole set of a resource. v2 flexible.
ALTER_CONFIGS = Api(33, "AlterConfigs", versions="0-2", flexible="2+")


class AlterConfigsRequest(Request["AlterConfigsResponse"], api=ALTER_CONFIGS):
    resources: Array[AlterConfigsResource] = field("0+")
    validate_only: bool = field("0+")


class AlterConfigsResource(Struct):
    resource_type: int8 = field("0+")
    resource_name: str = field("0+")
    configs: Array[AlterableConfig] = field("0+")


class AlterableConfig(Struct):
    name: str = field("0+")
    value: str | None = field("0+", nullable="0+")


class AlterConfigsResponse(Response, api=ALTER_CONFIGS):
    throttle_time_ms: int32 = field("0+")
    responses: Array[AlterConfigsResourceResponse] = field("0+")


class AlterConfigsResourceResponse(Struct):
    error_code: int16 = field("0+")
    error_message: str | None = field("0+", nullable="0+")
    resource_type: int8 = field("0+")
    resource_name: str = field("0+")


#: v1 flexible.
INCREMENTAL_ALTER_CONFIGS = Api(44, "IncrementalAlterConfigs", versions="0-1", flexible="1+")


class IncrementalAlterConfigsRequest(Request["IncrementalAlterConfigsResponse"], api=INCREMENTAL_ALTER_CONFIGS):
    resources: Array[IncrementalAlterConfigsResource] = field("0+")
    validate_only: bool = field("0+")


class IncrementalAlterConfigsResource(Struct):
    resource_type: int8 = field("0+")
    resource_name: str = field("0+")
    configs: Array[IncrementalAlterableConfig] = field("0+")


class IncrementalAlterableConfig(Struct):
    name: str = field("0+")
    config_operation: int8 = field("0+")
    value: str | None = field("0+", nullable="0+")


class IncrementalAlterConfigsResponse(Response, api=INCREMENTAL_ALTER_CONFIGS):
    throttle_time_ms: int32 = field("0+")
    responses: Array[AlterConfigsResourceResponse] = field("0+")
