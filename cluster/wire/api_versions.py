"""The table of ApiVersions, the first message of every client.

Source: KIP-35, KIP-511 (client software, fallback to version 0), KIP-584 (features). Its responses have a version 0
header at every version, so that a client can read them before it knows the broker.
"""

from __future__ import annotations

from cluster.wire.schema import Api, Array, Request, Response, Struct, field, int16, int32, int64

#: v3 flexible, v4 features whose minimum is 0.
API_VERSIONS = Api(18, "ApiVersions", versions="0-4", flexible="3+")


class ApiVersionsRequest(Request["ApiVersionsResponse"], api=API_VERSIONS):
    client_software_name: str = field("3+")
    client_software_version: str = field("3+")


class ApiVersionsResponse(Response, api=API_VERSIONS):
    error_code: int16 = field("0+")
    api_keys: Array[ApiVersion] = field("0+")
    throttle_time_ms: int32 = field("1+")
    supported_features: Array[SupportedFeatureKey] = field("3+", tag=0)
    finalized_features_epoch: int64 = field("3+", tag=1, default=-1)
    finalized_features: Array[FinalizedFeatureKey] = field("3+", tag=2)
    zk_migration_ready: bool = field("3+", tag=3)


class ApiVersion(Struct):
    api_key: int16 = field("0+")
    min_version: int16 = field("0+")
    max_version: int16 = field("0+")


class SupportedFeatureKey(Struct):
    name: str = field("3+")
    min_version: int16 = field("3+")
    max_version: int16 = field("3+")


class FinalizedFeatureKey(Struct):
    name: str = field("3+")
    max_version_level: int16 = field("3+")
    min_version_level: int16 = field("3+")
