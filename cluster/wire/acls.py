"""The tables of access control lists.

Source: KIP-140, KIP-290 (prefixed patterns).
"""

from __future__ import annotations

from cluster.wire.schema import Api, Array, Request, Response, Struct, field, int8, int16, int32

#: v1 pattern types (KIP-290), v2 flexible, v3 user resources (KIP-373). So do the other two.
DESCRIBE_ACLS = Api(29, "DescribeAcls", versions="0-3", flexible="2+")


class DescribeAclsRequest(Request["DescribeAclsResponse"], api=DESCRIBE_ACLS):
    resource_type_filter: int8 = field("0+")
    resource_name_filter: str | None = field("0+", nullable="0+")
    pattern_type_filter: int8 = field("1+", default=3)
    principal_filter: str | None = field("0+", nullable="0+")
    host_filter: str | None = field("0+", nullable="0+")
    operation: int8 = field("0+")
    permission_type: int8 = field("0+")


class DescribeAclsResponse(Response, api=DESCRIBE_ACLS):
    throttle_time_ms: int32 = field("0+")
    error_code: int16 = field("0+")
    error_message: str | None = field("0+", nullable="0+")
    resources: Array[DescribeAclsResource] = field("0+")


class DescribeAclsResource(Struct):
    resource_type: int8 = field("0+")
    resource_name: str = field("0+")
    pattern_type: int8 = field("1+", default=3)
    acls: Array[AclDescription] = field("0+")


class AclDescription(Struct):
    principal: str = field("0+")
    host: str = field("0+")
    operation: int8 = field("0+")
    permission_type: int8 = field("0+")


CREATE_ACLS = Api(30, "CreateAcls", versions="0-3", flexible="2+")


class CreateAclsRequest(Request["CreateAclsResponse"], api=CREATE_ACLS):
    creations: Array[AclCreation] = field("0+")


class AclCreation(Struct):
    resource_type: int8 = field("0+")
    resource_name: str = field("0+")
    resource_pattern_type: int8 = field("1+", default=3)
    principal: str = field("0+")
    host: str = field("0+")
    operation: int8 = field("0+")
    permission_type: int8 = field("0+")


class CreateAclsResponse(Response, api=CREATE_ACLS):
    throttle_time_ms: int32 = field("0+")
    results: Array[AclCreationResult] = field("0+")


class AclCreationResult(Struct):
    error_code: int16 = field("0+")
    error_message: str | None = field("0+", nullable="0+")


DELETE_ACLS = Api(31, "DeleteAcls", versions="0-3", flexible="2+")


class DeleteAclsRequest(Request["DeleteAclsResponse"], api=DELETE_ACLS):
    filters: Array[DeleteAclsFilter] = field("0+")


class DeleteAclsFilter(Struct):
    resource_type_filter: int8 = field("0+")
    resource_name_filter: str | None = field("0+", nullable="0+")
    pattern_type_filter: int8 = field("1+", default=3)
    principal_filter: str | None = field("0+", nullable="0+")
    host_filter: str | None = field("0+", nullable="0+")
    operation: int8 = field("0+")
    permission_type: int8 = field("0+")


class DeleteAclsResponse(Response, api=DELETE_ACLS):
    throttle_time_ms: int32 = field("0+")
    filter_results: Array[DeleteAclsFilterResult] = field("0+")


class DeleteAclsFilterResult(Struct):
    error_code: int16 = field("0+")
    error_message: str | None = field("0+", nullable="0+")
    matching_acls: Array[DeleteAclsMatchingAcl] = field("0+")


class DeleteAclsMatchingAcl(Struct):
    error_code: int16 = field("0+")
    error_message: str | None = field("0+", nullable="0+")
    resource_type: int8 = field("0+")
    resource_name: str = field("0+")
    pattern_type: int8 = field("1+", default=3)
    principal: str = field("0+")
    host: str = field("0+")
    operation: int8 = field("0+")
    permission_type: int8 = field("0+")
