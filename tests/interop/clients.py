"""All clients by name."""

from tests.interop.console import Console
from tests.interop.interface import Client
from tests.interop.kcat import Kcat
from tests.interop.programs import FranzGo, Java, Kafkajs, Sarama
from tests.interop.python_clients import Aiokafka, ConfluentKafka, KafkaPython

#: The slow ones first, so that the others run beside them.
CLIENTS: dict[str, Client] = {
    client.name: client
    for client in (
        Console(),
        Java(),
        Kafkajs(),
        Kcat(),
        ConfluentKafka(),
        KafkaPython(),
        Aiokafka(),
        FranzGo(),
        Sarama(),
    )
}
