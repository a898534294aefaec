"""Producer ids, handed out in blocks so that brokers need not ask for each (KIP-730). Pure."""

from cluster.errors import ErrorCode
from cluster.metadata.commands import AllocateProducerIds
from cluster.metadata.records import ProducerIdsRecord
from cluster.metadata.results import ProducerIdBlock
from controller.decision import Context, Decision, caused, current_broker, refuse

BLOCK_SIZE = 1000
PRODUCER_ID_MAX = 2**63 - 1


def decide_allocate_producer_ids(context: Context, command: AllocateProducerIds) -> Decision:
    """The next block; an id is never given twice, also when the block is lost with its broker."""
    broker = current_broker(context, command.broker_id, command.broker_epoch)
    if isinstance(broker, Decision):
        return broker
    first = context.image.next_producer_id
    if first > PRODUCER_ID_MAX - BLOCK_SIZE:
        return refuse(ErrorCode.UNKNOWN_SERVER_ERROR, "all producer ids are used up")
    record = ProducerIdsRecord(next_producer_id=first + BLOCK_SIZE)
    return Decision(
        result=ProducerIdBlock(first_producer_id=first, count=BLOCK_SIZE),
        records=(caused(record, f"broker {broker.broker_id} asked for producer ids"),),
    )
