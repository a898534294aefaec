"""The tables of authentication: SaslHandshake and SaslAuthenticate.

Source: KIP-43 (handshake), KIP-152 (SaslAuthenticate), KIP-368 (re-authentication).
"""

from __future__ import annotations

from cluster.wire.schema import Api, Array, Request, Response, field, int16, int64

#: After v0 bare tokens follow, each with its size in front; after v1 SaslAuthenticate.
SASL_HANDSHAKE = Api(17, "SaslHandshake", versions="0-1", flexible="none")


class SaslHandshakeRequest(Request["SaslHandshakeResponse"], api=SASL_HANDSHAKE):
    mechanism: str = field("0+")


class SaslHandshakeResponse(Response, api=SASL_HANDSHAKE):
    error_code: int16 = field("0+")
    mechanisms: Array[str] = field("0+")


#: v1 session_lifetime_ms (KIP-368), v2 flexible.
SASL_AUTHENTICATE = Api(36, "SaslAuthenticate", versions="0-2", flexible="2+")


class SaslAuthenticateRequest(Request["SaslAuthenticateResponse"], api=SASL_AUTHENTICATE):
    auth_bytes: bytes = field("0+")


class SaslAuthenticateResponse(Response, api=SASL_AUTHENTICATE):
    error_code: int16 = field("0+")
    error_message: str | None = field("0+", nullable="0+")
    auth_bytes: bytes = field("0+")
    session_lifetime_ms: int64 = field("1+")
