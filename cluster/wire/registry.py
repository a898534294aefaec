"""The APIs that have a table, by key.

The versions here are the ones that the codec knows; those that a broker serves and advertises are its handlers'.
"""

from types import MappingProxyType
from typing import Final

from cluster.wire import (
    acls,
    api_versions,
    cluster_admin,
    configs,
    consumer_groups,
    fetch,
    groups,
    list_offsets,
    log_dirs,
    metadata,
    offsets,
    produce,
    quotas,
    sasl,
    scram,
    topics,
    transactions,
)

#: Every API, ascending by key. `api.request` and `api.response` are its messages.
APIS: Final = MappingProxyType(
    {
        api.key: api
        for api in (
            produce.PRODUCE,
            fetch.FETCH,
            list_offsets.LIST_OFFSETS,
            metadata.METADATA,
            offsets.OFFSET_COMMIT,
            offsets.OFFSET_FETCH,
            groups.FIND_COORDINATOR,
            groups.JOIN_GROUP,
            groups.HEARTBEAT,
            groups.LEAVE_GROUP,
            groups.SYNC_GROUP,
            groups.DESCRIBE_GROUPS,
            groups.LIST_GROUPS,
            sasl.SASL_HANDSHAKE,
            api_versions.API_VERSIONS,
            topics.CREATE_TOPICS,
            topics.DELETE_TOPICS,
            topics.DELETE_RECORDS,
            transactions.INIT_PRODUCER_ID,
            list_offsets.OFFSET_FOR_LEADER_EPOCH,
            transactions.ADD_PARTITIONS_TO_TXN,
            transactions.ADD_OFFSETS_TO_TXN,
            transactions.END_TXN,
            transactions.WRITE_TXN_MARKERS,
            transactions.TXN_OFFSET_COMMIT,
            acls.DESCRIBE_ACLS,
            acls.CREATE_ACLS,
            acls.DELETE_ACLS,
            configs.DESCRIBE_CONFIGS,
            configs.ALTER_CONFIGS,
            log_dirs.DESCRIBE_LOG_DIRS,
            sasl.SASL_AUTHENTICATE,
            topics.CREATE_PARTITIONS,
            groups.DELETE_GROUPS,
            cluster_admin.ELECT_LEADERS,
            configs.INCREMENTAL_ALTER_CONFIGS,
            cluster_admin.ALTER_PARTITION_REASSIGNMENTS,
            cluster_admin.LIST_PARTITION_REASSIGNMENTS,
            offsets.OFFSET_DELETE,
            quotas.DESCRIBE_CLIENT_QUOTAS,
            quotas.ALTER_CLIENT_QUOTAS,
            scram.DESCRIBE_USER_SCRAM_CREDENTIALS,
            scram.ALTER_USER_SCRAM_CREDENTIALS,
            cluster_admin.DESCRIBE_CLUSTER,
            transactions.DESCRIBE_PRODUCERS,
            transactions.DESCRIBE_TRANSACTIONS,
            transactions.LIST_TRANSACTIONS,
            consumer_groups.CONSUMER_GROUP_HEARTBEAT,
            consumer_groups.CONSUMER_GROUP_DESCRIBE,
        )
    }
)


def api_name(api_key: int) -> str:
    """Kafka's name of an API, or its number where there is no table."""
    api = APIS.get(api_key)
    return api.name if api is not None else f"ApiKey({api_key})"
