"""The tables of SCRAM credentials.

Source: KIP-554.
"""

from __future__ import annotations

from cluster.wire.schema import Api, Array, Request, Response, Struct, field, int8, int16, int32

DESCRIBE_USER_SCRAM_CREDENTIALS = Api(50, "DescribeUserScramCredentials", versions="0", flexible="0+")


class DescribeUserScramCredentialsRequest(
    Request["DescribeUserScramCredentialsResponse"], api=DESCRIBE_USER_SCRAM_CREDENTIALS
):
    users: Array[UserName] | None = field("0+", nullable="0+")


class UserName(Struct):
    name: str = field("0+")


class DescribeUserScramCredentialsResponse(Response, api=DESCRIBE_USER_SCRAM_CREDENTIALS):
    throttle_time_ms: int32 = field("0+")
    error_code: int16 = field("0+")
    error_message: str | None = field("0+", nullable="0+")
    results: Array[DescribeUserScramCredentialsResult] = field("0+")


class DescribeUserScramCredentialsResult(Struct):
    user: str = field("0+")
    error_code: int16 = field("0+")
    error_message: str | None = field("0+", nullable="0+")
    credential_infos: Array[CredentialInfo] = field("0+")


class CredentialInfo(Struct):
    mechanism: int8 = field("0+")
    iterations: int32 = field("0+")


ALTER_USER_SCRAM_CREDENTIALS = Api(51, "AlterUserScramCredentials", versions="0", flexible="0+")


class AlterUserScramCredentialsRequest(Request["AlterUserScramCredentialsResponse"], api=ALTER_USER_SCRAM_CREDENTIALS):
    deletions: Array[ScramCredentialDeletion] = field("0+")
    upsertions: Array[ScramCredentialUpsertion] = field("0+")


class ScramCredentialDeletion(Struct):
    name: str = field("0+")
    mechanism: int8 = field("0+")


class ScramCredentialUpsertion(Struct):
    name: str = field("0+")
    mechanism: int8 = field("0+")
    iterations: int32 = field("0+")
    salt: bytes = field("0+")
    salted_password: bytes = field("0+")


class AlterUserScramCredentialsResponse(Response, api=ALTER_USER_SCRAM_CREDENTIALS):
    throttle_time_ms: int32 = field("0+")
    results: Array[AlterUserScramCredentialsResult] = field("0+")


class AlterUserScramCredentialsResult(Struct):
    user: str = field("0+")
    error_code: int16 = field("0+")
    error_message: str | None = field("0+", nullable="0+")
