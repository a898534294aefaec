"""Feature levels: which of the cluster's abilities may be used, raised only when every broker has them (KIP-584).

Pure. A level is never lowered: what a higher level wrote, a lower one may not understand.
"""

from cluster.errors import ErrorCode
from cluster.metadata.commands import UpdateFeature
from cluster.metadata.records import FeatureLevelRecord
from controller.decision import Context, Decision, caused, refuse

BLUMFELD_VERSION = "blumfeld.version"
#: The highest level of `blumfeld.version` that this software knows.
LEVEL_MAX = 1


def supported_by_software(level: int) -> bool:
    return 1 <= level <= LEVEL_MAX


def decide_update_feature(context: Context, command: UpdateFeature) -> Decision:
    """Raise `blumfeld.version`. The same level again changes nothing."""
    image = context.image
    if command.name != BLUMFELD_VERSION:
        return refuse(ErrorCode.INVALID_REQUEST, f"there is no feature {command.name!r}")
    current = image.features.get(command.name, 0)
    if command.level == current:
        return Decision()
    if command.level < current:
        return refuse(ErrorCode.FEATURE_UPDATE_FAILED, f"{command.name} is at level {current} and cannot be lowered")
    lacking = [
        broker_id for broker_id in sorted(image.brokers) if image.brokers[broker_id].feature_level_max < command.level
    ]
    if lacking or not supported_by_software(command.level):
        who = "the controller" if not lacking else "broker " + ", ".join(map(str, lacking))
        return refuse(
            ErrorCode.FEATURE_UPDATE_FAILED, f"{command.name} level {command.level} is not supported by {who}"
        )
    record = FeatureLevelRecord(name=command.name, level=command.level)
    return Decision(records=(caused(record, "an operator raised the feature level"),))
