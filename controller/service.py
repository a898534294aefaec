"""The controller as others see it: commands are submitted, status and history asked for.

Owns being active: a controller is active from the moment at which it leads and has applied everything that was
committed before, until it hears that it no longer leads. Only an active controller accepts commands and sessions; any
controller serves watchers. Founds the cluster when there is none.
"""

import asyncio
import logging

from cluster.errors import ErrorCode
from cluster.metadata.commands import COMMAND_SIZE_BYTES_MAX, Bootstrap, RegisterBroker
from cluster.metadata.image import MetadataImage
from cluster.metadata.messages import (
    HISTORY,
    SESSION,
    STATUS,
    SUBMIT,
    WATCH,
    HistoryRequest,
    HistoryResponse,
    NotController,
    OutcomeUnknown,
    Overloaded,
    StatusRequest,
    StatusResponse,
    SubmitRequest,
    SubmitResponse,
)
from cluster.metadata.records import MetadataEntry
from cluster.metadata.results import AppliedCommand, CommandFailed
from cluster.metadata.serde import codec
from cluster.seams import Clock, Net, NotLeader, Quorum, UnknownOutcome
from controller.metadata_log import MetadataLog
from controller.proposals import Proposer, TooManyInFlight
from controller.rebalancer import Rebalancer
from controller.sessions import Sessions

log = logging.getLogger(__name__)

WAIT_APPLIED_MS_MAX = 1000
PROPOSAL_TIMEOUT_MS_MAX = 60_000
BARRIER_TIMEOUT_MS = 2000
#: Between attempts to become active after a failed one.
RETRY_MS = 50

_REQUEST = codec(SubmitRequest)
_RESPONSE = codec(SubmitResponse)


class MetadataFanOut:
    """Tells the machine's changes to everybody who needs them, in a fixed order."""

    def __init__(self, metadata_log: MetadataLog) -> None:
        self._log = metadata_log
        self._sessions: Sessions | None = None
        self._rebalancer: Rebalancer | None = None

    def attach(self, sessions: Sessions, rebalancer: Rebalancer) -> None:
        """These need the quorum, which needs the machine, which needs this object."""
        self._sessions = sessions
        self._rebalancer = rebalancer

    def on_entry(self, entry: MetadataEntry, image: MetadataImage) -> None:
        self._log.on_entry(entry, image)
        self._tell(image)

    def on_snapshot(self, image: MetadataImage) -> None:
        self._log.on_snapshot(image)
        self._tell(image)

    def _tell(self, image: MetadataImage) -> None:
        if self._sessions is not None:
            self._sessions.on_image(image)
        if self._rebalancer is not None:
            self._rebalancer.on_image(image)


class ControllerService:
    """Handlers of the controller's methods, and the watch over its own leadership."""

    def __init__(
        self,
        *,
        net: Net,
        clock: Clock,
        quorum: Quorum,
        proposer: Proposer,
        metadata_log: MetadataLog,
        sessions: Sessions,
        rebalancer: Rebalancer,
        cluster_id: str,
    ) -> None:
        """`cluster_id` is given to a cluster that has none."""
        self._clock = clock
        self._quorum = quorum
        self._proposer = proposer
        self._log = metadata_log
        self._sessions = sessions
        self._rebalancer = rebalancer
        self._cluster_id = cluster_id
        self._active_term: int | None = None
        self._role_changed = asyncio.Event()
        quorum.on_role_change(self._on_role_change)
        net.serve_call(SUBMIT, self._submit)
        net.serve_call(STATUS, self._status)
        net.serve_call(HISTORY, self._history)
        net.serve_stream(WATCH, metadata_log.serve_watch)
        net.serve_stream(SESSION, sessions.serve_session)

    @property
    def is_active(self) -> bool:
        return self._active_term is not None

    async def run(self) -> None:
        """Follow the quorum's role; runs for ever."""
        self._role_changed.set()
        while True:
            await self._role_changed.wait()
            self._role_changed.clear()
            if self._quorum.is_leader and self._active_term != self._quorum.term:
                self._deactivate()
                if not await self._become_active(self._quorum.term):
                    await self._clock.sleep_ms(RETRY_MS)
                    self._role_changed.set()

    def _on_role_change(self) -> None:
        if not self._quorum.is_leader or self._quorum.term != self._active_term:
            self._deactivate()
        self._role_changed.set()

    async def _become_active(self, term: int) -> bool:
        """Whether there is nothing more to try in this role."""
        try:
            await self._quorum.barrier(BARRIER_TIMEOUT_MS)
            if not self._log.image.cluster_id:
                await self._proposer.propose(Bootstrap(cluster_id=self._cluster_id), BARRIER_TIMEOUT_MS)
        except NotLeader:
            return not self._quorum.is_leader
        except (UnknownOutcome, TooManyInFlight) as error:
            log.info("controller %d is not active yet: %r", self._quorum.node_id, error)
            return False
        if not self._quorum.is_leader or self._quorum.term != term:
            return False
        self._active_term = term
        self._sessions.activate(self._log.image)
        self._rebalancer.activate(self._log.image)
        log.info("controller %d -> active: it leads term %d", self._quorum.node_id, term)
        return True

    def _deactivate(self) -> None:
        if self._active_term is not None:
            log.info("controller %d -> inactive: it no longer leads", self._quorum.node_id)
            self._active_term = None
            self._sessions.deactivate()
            self._rebalancer.deactivate()

    async def _submit(self, peer: str, data: bytes) -> bytes:
        try:
            if len(data) > COMMAND_SIZE_BYTES_MAX:
                raise ValueError(f"a command of {len(data)} bytes; {COMMAND_SIZE_BYTES_MAX} are allowed")
            request = _REQUEST.decode(data)
        except ValueError as error:
            log.warning("a command of %s is refused: %s", peer, error)
            return self._refused(str(error))
        if not self.is_active:
            return _RESPONSE.encode(SubmitResponse(outcome=NotController(leader_id=self._other_leader())))
        if isinstance(request.command, RegisterBroker):
            self._sessions.on_rival(request.command.broker_id, request.command.incarnation_id)
        return _RESPONSE.encode(await self._applied(request))

    async def _applied(self, request: SubmitRequest) -> SubmitResponse:
        try:
            applied = await self._proposer.propose(
                request.command,
                max(1, min(request.timeout_ms, PROPOSAL_TIMEOUT_MS_MAX)),
                client=request.client,
                sequence=request.sequence,
                settled_below=request.settled_below,
            )
        except NotLeader as error:
            return SubmitResponse(outcome=NotController(leader_id=error.leader_id))
        except UnknownOutcome:
            return SubmitResponse(outcome=OutcomeUnknown())
        except TooManyInFlight:
            return SubmitResponse(outcome=Overloaded())
        result = applied.result
        if isinstance(result, CommandFailed) and result.error_code is ErrorCode.UNKNOWN_SERVER_ERROR:
            log.error("a programming error refuses a command, and nothing was changed: %s", result.message)
        if request.wait_applied_ms > 0:
            await self._sessions.wait_applied(applied.offset, min(request.wait_applied_ms, WAIT_APPLIED_MS_MAX))
        return SubmitResponse(outcome=applied)

    def _refused(self, message: str) -> bytes:
        failed = CommandFailed(error_code=ErrorCode.INVALID_REQUEST, message=message)
        return _RESPONSE.encode(SubmitResponse(outcome=AppliedCommand(offset=self._log.image.offset, result=failed)))

    def _other_leader(self) -> int | None:
        """Whom to ask instead; a leader that is not active yet names nobody."""
        leader_id = self._quorum.leader_id
        return None if leader_id == self._quorum.node_id else leader_id

    async def _status(self, _peer: str, data: bytes) -> bytes:
        codec(StatusRequest).decode(data)
        quorum, image = self._quorum, self._log.image
        return codec(StatusResponse).encode(
            StatusResponse(
                node_id=quorum.node_id,
                active=self.is_active,
                leader_id=quorum.leader_id,
                term=quorum.term,
                applied_index=quorum.applied_index,
                metadata_offset=image.offset,
                cluster_id=image.cluster_id,
            )
        )

    async def _history(self, _peer: str, data: bytes) -> bytes:
        request = codec(HistoryRequest).decode(data)
        return codec(HistoryResponse).encode(self._log.history(request))
