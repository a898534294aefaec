"""The tables of client quotas.

Source: KIP-546.
"""

from __future__ import annotations

from cluster.wire.schema import Api, Array, Request, Response, Struct, field, float64, int8, int16, int32

#: v1 flexible.
DESCRIBE_CLIENT_QUOTAS = Api(48, "DescribeClientQuotas", versions="0-1", flexible="1+")


class DescribeClientQuotasRequest(Request["DescribeClientQuotasResponse"], api=DESCRIBE_CLIENT_QUOTAS):
    components: Array[QuotaComponent] = field("0+")
    strict: bool = field("0+")


class QuotaComponent(Struct):
    entity_type: str = field("0+")
    match_type: int8 = field("0+")
    match: str | None = field("0+", nullable="0+")


class DescribeClientQuotasResponse(Response, api=DESCRIBE_CLIENT_QUOTAS):
    throttle_time_ms: int32 = field("0+")
    error_code: int16 = field("0+")
    error_message: str | None = field("0+", nullable="0+")
    entries: Array[QuotaEntry] | None = field("0+", nullable="0+", default=())


class QuotaEntry(Struct):
    entity: Array[QuotaEntity] = field("0+")
    values: Array[QuotaValue] = field("0+")


class QuotaEntity(Struct):
    entity_type: str = field("0+")
    entity_name: str | None = field("0+", nullable="0+")


class QuotaValue(Struct):
    key: str = field("0+")
    value: float64 = field("0+")


#: v1 flexible.
ALTER_CLIENT_QUOTAS = Api(49, "AlterClientQuotas", versions="0-1", flexible="1+")


class AlterClientQuotasRequest(Request["AlterClientQuotasResponse"], api=ALTER_CLIENT_QUOTAS):
    entries: Array[AlterQuotaEntry] = field("0+")
    validate_only: bool = field("0+")


class AlterQuotaEntry(Struct):
    entity: Array[QuotaEntity] = field("0+")
    ops: Array[QuotaOp] = field("0+")


class QuotaOp(Struct):
    key: str = field("0+")
    value: float64 = field("0+")
    remove: bool = field("0+")


class AlterClientQuotasResponse(Response, api=ALTER_CLIENT_QUOTAS):
    throttle_time_ms: int32 = field("0+")
    entries: Array[AlteredQuotaEntry] = field("0+")


class AlteredQuotaEntry(Struct):
    error_code: int16 = field("0+")
    error_message: str | None = field("0+", nullable="0+")
    entity: Array[QuotaEntity] = field("0+")
