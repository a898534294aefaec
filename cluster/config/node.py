"""The configuration of one node in the types that the code uses. Built once at start; frozen."""

from collections.abc import Mapping
from dataclasses import dataclass

from cluster.config.properties import BrokerProperties
from cluster.config.values import ConfigError
from cluster.ids import Endpoint, parse_uuid
from cluster.metadata.records import Listener

#: Names of listeners that say what is spoken on them unless listener.security.protocol.map says otherwise.
_PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")


@dataclass(frozen=True, slots=True, kw_only=True)
class BoundListener:
    """A client listener: where it binds, and what clients are told."""

    bind: Endpoint
    #: Port 0 means: the port that was bound.
    advertised: Listener


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeConfig:
    """What `server.properties` says about this node's place in the cluster; all other keys are in `properties`."""

    node_id: int
    is_controller: bool
    is_broker: bool
    rack: str | None
    cluster_id: str | None
    listeners: tuple[BoundListener, ...]
    #: Where this node's controller binds; None on a pure broker.
    controller_bind: Endpoint | None
    #: Every controller by id, never empty.
    voters: Mapping[int, Endpoint]
    #: Where this broker serves other nodes, and the host that it tells them.
    node_bind: Endpoint
    node_host: str
    log_dir: str
    properties: BrokerProperties


def node_config(properties: BrokerProperties) -> NodeConfig:
    """Raises ConfigError when keys contradict one another or something needed is missing."""
    node_id = _node_id(properties)
    roles = properties.list("process.roles")
    if not roles:
        raise ConfigError("process.roles is empty: a node is a controller, a broker, or both")
    controller_names = {name.upper() for name in properties.list("controller.listener.names")}
    protocols = dict(
        _pair(text, "listener.security.protocol.map") for text in properties.list("listener.security.protocol.map")
    )
    binds = _endpoints(properties, "listeners")
    advertised = _endpoints(properties, "advertised.listeners")
    _check_endpoints(binds, advertised)
    client = [
        _bound(name, bind, advertised.get(name), protocols)
        for name, bind in binds.items()
        if name not in controller_names
    ]
    controller_binds = [bind for name, bind in binds.items() if name in controller_names]
    if "broker" in roles and not client:
        raise ConfigError("listeners has no listener for clients: add one, such as PLAINTEXT://127.0.0.1:9092")
    if "controller" in roles and not controller_binds:
        raise ConfigError("this node is a controller, but no listener is named in controller.listener.names")
    controller_bind = controller_binds[0] if "controller" in roles else None
    node_host = _node_host(properties, client)
    return NodeConfig(
        node_id=node_id,
        is_controller="controller" in roles,
        is_broker="broker" in roles,
        rack=properties.string("broker.rack"),
        cluster_id=_cluster_id(properties),
        listeners=tuple(client),
        controller_bind=controller_bind,
        voters=_voters(properties, node_id, controller_bind),
        node_bind=Endpoint(client[0].bind.host if client else "", properties.integer("blumfeld.node.port")),
        node_host=node_host,
        log_dir=_log_dir(properties),
        properties=properties,
    )


def _node_id(properties: BrokerProperties) -> int:
    if "node.id" not in properties.explicit and "broker.id" in properties.explicit:
        return properties.integer("broker.id")
    return properties.integer("node.id")


def _cluster_id(properties: BrokerProperties) -> str | None:
    text = properties.string("blumfeld.cluster.id")
    if text is None:
        return None
    try:
        parse_uuid(text)
    except ValueError as error:
        raise ConfigError(f"blumfeld.cluster.id: {error}") from None
    return text


def _log_dir(properties: BrokerProperties) -> str:
    dirs = properties.list("log.dirs")
    if len(dirs) > 1:
        raise ConfigError(f"log.dirs names {len(dirs)} folders; one is supported: join the disks below one folder")
    return dirs[0] if dirs else properties.string("log.dir") or ""


def _endpoints(properties: BrokerProperties, key: str) -> dict[str, Endpoint]:
    """NAME://host:port elements by upper-case name."""
    found: dict[str, Endpoint] = {}
    for text in properties.list(key):
        name, separator, address = text.partition("://")
        if not separator or not name:
            raise ConfigError(f"{key}: {text!r} is not NAME://host:port")
        if name.upper() in found:
            raise ConfigError(f"{key}: {name} is there twice")
        found[name.upper()] = parse_endpoint(address, key)
    return found


def parse_endpoint(text: str, source: str) -> Endpoint:
    """host:port; an IPv6 address stands in brackets. Raises ConfigError that names `source`."""
    host, separator, port = text.rpartition(":")
    if not separator or not (port.isascii() and port.isdigit() and int(port) <= 65535):
        raise ConfigError(f"{source}: {text!r} is not host:port")
    return Endpoint(host.strip("[]"), int(port))


def _check_endpoints(binds: Mapping[str, Endpoint], advertised: Mapping[str, Endpoint]) -> None:
    taken: dict[Endpoint, str] = {}
    for name, bind in binds.items():
        if bind.port and bind in taken:
            raise ConfigError(f"listeners: {taken[bind]} and {name} both want {bind}; give one of them another port")
        taken[bind] = name
    for name in advertised:
        if name not in binds:
            raise ConfigError(f"advertised.listeners: {name} is not one of listeners, which are {', '.join(binds)}")


def _pair(text: str, key: str) -> tuple[str, str]:
    name, separator, value = text.partition(":")
    if not separator:
        raise ConfigError(f"{key}: {text!r} is not NAME:PROTOCOL")
    return name.upper(), value.upper()


def _bound(name: str, bind: Endpoint, advertised: Endpoint | None, protocols: Mapping[str, str]) -> BoundListener:
    protocol = protocols.get(name, name if name in _PROTOCOLS else "PLAINTEXT")
    if protocol != "PLAINTEXT":
        raise ConfigError(f"listener {name} asks for {protocol}; only PLAINTEXT is supported")
    told = advertised or bind
    if told.host in ("", "0.0.0.0", "::"):
        if advertised is not None:
            raise ConfigError(f"advertised.listeners: {told.host!r} is no address that a client can connect to")
        told = Endpoint("localhost", told.port)
    return BoundListener(
        bind=bind,
        advertised=Listener(name=name, host=told.host, port=told.port, security_protocol=protocol),
    )


def _node_host(properties: BrokerProperties, client: list[BoundListener]) -> str:
    name = properties.string("inter.broker.listener.name")
    if not client:
        return "localhost"
    if name is None:
        return client[0].advertised.host
    for listener in client:
        if listener.advertised.name == name.upper():
            return listener.advertised.host
    raise ConfigError(f"inter.broker.listener.name={name} is not one of the client listeners")


def _voters(properties: BrokerProperties, node_id: int, bind: Endpoint | None) -> dict[int, Endpoint]:
    voters: dict[int, Endpoint] = {}
    for text in properties.list("controller.quorum.voters"):
        number, separator, address = text.partition("@")
        if not separator or not number.isdigit():
            raise ConfigError(f"controller.quorum.voters: {text!r} is not id@host:port")
        if int(number) in voters:
            raise ConfigError(f"controller.quorum.voters: {number} is there twice")
        voters[int(number)] = parse_endpoint(address, "controller.quorum.voters")
    if not voters and bind is not None:
        return {node_id: Endpoint(bind.host or "127.0.0.1", bind.port)}
    if not voters:
        raise ConfigError("controller.quorum.voters is unset: a broker must know its controllers, as id@host:port,...")
    if bind is not None and node_id not in voters:
        raise ConfigError(f"this node is controller {node_id}, which controller.quorum.voters does not name")
    # Other hosts, or none, may be the two sides of an address translation.
    if bind is not None and bind.port and voters[node_id].host == bind.host and voters[node_id] != bind:
        raise ConfigError(
            f"controller.quorum.voters: controller {node_id} is at {voters[node_id]}, but its listener is {bind}"
        )
    return voters
