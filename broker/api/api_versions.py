"""ApiVersions (18): which APIs and versions this broker serves.

Versions 0-4. Any other version is answered in version 0 with UNSUPPORTED_VERSION and the range of this API alone, which
is how a newer client learns what to ask instead (KIP-511). From version 3 on the client says what software it is, and a
name that breaks the rules is refused. No features are advertised (KIP-584): transactions stay in their first version.
"""

import re
from collections.abc import Iterable
from typing import Final

from broker.api.answers import Encoded, RequestContext, encoded
from broker.api.registry import VersionRange, served_apis, serves
from cluster.errors import ErrorCode
from cluster.wire.api_versions import API_VERSIONS, ApiVersion, ApiVersionsRequest, ApiVersionsResponse

_SOFTWARE: Final = re.compile(r"[a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])?")
_FIRST_VERSION_WITH_SOFTWARE: Final = 3


class ApiVersionsApi:
    """Answers with `others` and itself."""

    def __init__(self, others: Iterable[VersionRange]) -> None:
        own = [mark.advertised for _, mark in served_apis(ApiVersionsApi)]
        self._api_keys = [_api_version(item) for item in sorted([*others, *own])]
        self._answers: dict[int, Encoded] = {}
        refusal = ApiVersionsResponse(
            error_code=ErrorCode.UNSUPPORTED_VERSION, api_keys=[_api_version(item) for item in own]
        )
        self.unsupported_version = encoded(refusal, 0)

    @serves(API_VERSIONS, "0-4")
    def api_versions(self, request: ApiVersionsRequest, context: RequestContext) -> Encoded:
        version = context.api_version
        if version >= _FIRST_VERSION_WITH_SOFTWARE and not (
            _SOFTWARE.fullmatch(request.client_software_name) and _SOFTWARE.fullmatch(request.client_software_version)
        ):
            return encoded(ApiVersionsResponse(error_code=ErrorCode.INVALID_REQUEST), version)
        answer = self._answers.get(version)
        if answer is None:
            answer = self._answers[version] = encoded(ApiVersionsResponse(api_keys=self._api_keys), version)
        return answer


def _api_version(item: VersionRange) -> ApiVersion:
    return ApiVersion(api_key=item.api_key, min_version=item.min_version, max_version=item.max_version)
