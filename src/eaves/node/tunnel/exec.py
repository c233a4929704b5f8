"""Streams of kind ``exec`` and ``attach``: a session with a workload, in the channels that Kubernetes clients speak."""

from __future__ import annotations

import asyncio
from typing import Protocol

from eaves.node.tunnel.abc import Offer, RefusedError
from eaves.node.workloads.errors import NotRunningError, WorkloadError
from eaves.node.workloads.sessions import Command, Output, Session, SessionError, SessionUnsupportedError
from eaves.tunnel.stream import TunnelStream
from eaves.wire import channels
from eaves.wire.channels import AttachParameters, Channel, ExecParameters
from eaves.wire.tunnel import RefusalCode, StreamRequest, parse_parameters


class Sessions(Protocol):
    """Opens sessions with the node's workloads. Raises WorkloadError, EavesError."""

    async def exec(self, app_id: str, command: Command) -> Session: ...

    async def attach(self, app_id: str, *, stdin: bool) -> Session: ...


class ExecHandler:
    """Runs commands."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    async def serve(self, request: StreamRequest, offer: Offer) -> None:
        wanted = parse_parameters(request, ExecParameters)
        if not wanted.command or any("\0" in word for word in wanted.command):
            raise RefusedError(RefusalCode.INVALID, "no command that could be run is given")
        command = Command(tuple(wanted.command), wanted.stdin, wanted.tty)
        try:
            session = await self._sessions.exec(wanted.app, command)
        except WorkloadError as error:
            raise _refuse(error) from error
        await carry_session(session, offer)


class AttachHandler:
    """Shows what workloads write, and types at those that read."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    async def serve(self, request: StreamRequest, offer: Offer) -> None:
        wanted = parse_parameters(request, AttachParameters)
        try:
            session = await self._sessions.attach(wanted.app, stdin=wanted.stdin)
        except WorkloadError as error:
            raise _refuse(error) from error
        await carry_session(session, offer)


def _refuse(error: WorkloadError) -> RefusedError:
    match error:
        case NotRunningError():
            code = RefusalCode.NOT_RUNNING
        case SessionUnsupportedError():
            code = RefusalCode.UNSUPPORTED
        case _:
            code = RefusalCode.FAILED
    return RefusedError(code, error.message)


async def carry_session(session: Session, offer: Offer) -> None:
    """Carry a session's channels until it has ended, which the client is told, or its user has gone. Closes the session."""
    try:
        stream = await offer.accept()

        async def show(output: Output, data: bytes) -> None:
            channel = Channel.STDOUT if output is Output.STDOUT else Channel.STDERR
            await stream.send(channels.encode_message(channel, data))

        listening = asyncio.create_task(_listen(stream, session), name="session input")
        showing = asyncio.create_task(session.pump(show), name="session output")
        try:
            await asyncio.wait((listening, showing), return_when=asyncio.FIRST_COMPLETED)
            if showing.done():
                await stream.send(_describe_end(showing))
            else:
                listening.result()
        finally:
            for task in (listening, showing):
                task.cancel()
            await asyncio.wait((listening, showing))
    finally:
        await session.close()


def _describe_end(showing: asyncio.Task[int]) -> bytes:
    try:
        return channels.encode_exit(showing.result())
    except SessionError as error:
        return channels.encode_failure(f"error executing command in container: {error.message}")


async def _listen(stream: TunnelStream, session: Session) -> None:
    """Hand on what the user does, until the user has gone."""
    while (message := await stream.receive()) is not None:
        channel, data = message[0], message[1:]
        if channel == Channel.STDIN and data:
            await session.write(data)
        elif channel == Channel.RESIZE:
            if (size := channels.parse_size(data)) is not None:
                await session.resize(size.width, size.height)
        elif channel == Channel.CLOSE and data[:1] == bytes((Channel.STDIN,)):
            await session.close_input()
