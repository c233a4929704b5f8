"""Streams of kind ``http``: the API of a K3s cluster whose server runs on this node, for callers that the controller vouches for.

Each stream is one connection to the API on this machine, made with K3s's own admin certificate, which never leaves the node. Of what comes
from the controller the heads of requests are read and written anew: the caller's credentials and claims go, the identity that came signed
with the stream is put in. Answers are carried as they are.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable

from eaves.kit import streams
from eaves.kit.errors import EavesError
from eaves.node.clusters.model import ClusterApi
from eaves.node.tunnel.abc import Handler, Offer, RefusedError
from eaves.tunnel.stream import TunnelStream
from eaves.wire import clusterstream, http1
from eaves.wire.clusterstream import BadIdentityError, HttpParameters
from eaves.wire.http1 import HttpError
from eaves.wire.tunnel import CloseCause, CloseCode, RefusalCode, StreamRequest, parse_parameters

log = logging.getLogger(__name__)

CONNECT_TIMEOUT_S = 5.0
CLOSE_TIMEOUT_S = 2.0
READ_BYTES = 64 << 10


FindApi = Callable[[str], ClusterApi]
"""The API of a cluster's server on this node, by the cluster's id. Blocking, short. Raises EavesError when none runs here."""


class ClusterHttp(Handler):
    """``find_api`` belongs to whoever runs the clusters."""

    def __init__(self, find_api: FindApi) -> None:
        self._find_api = find_api

    async def serve(self, request: StreamRequest, offer: Offer) -> None:
        parameters = parse_parameters(request, HttpParameters)
        _check_identity(parameters)
        try:
            api = await asyncio.to_thread(self._find_api, parameters.cluster)
        except EavesError as error:
            raise RefusedError(RefusalCode.NOT_FOUND, error.message) from error
        reader, writer = await _connect(api)
        try:
            stream = await offer.accept()
            await _carry(stream, reader, writer, parameters, f"{api.host}:{api.port}")
        finally:
            await streams.close(writer, CLOSE_TIMEOUT_S)


def _check_identity(parameters: HttpParameters) -> None:
    try:
        list(clusterstream.identity_headers(parameters))
    except BadIdentityError as error:
        raise RefusedError(RefusalCode.INVALID, error.message) from error


async def _connect(api: ClusterApi) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    try:
        context = await asyncio.to_thread(_make_context, api)
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            return await asyncio.open_connection(api.host, api.port, ssl=context, limit=READ_BYTES)
    except TimeoutError as error:
        raise RefusedError(RefusalCode.FAILED, "the cluster's API does not answer in time on this node") from error
    except (OSError, ssl.SSLError) as error:
        # The texts of both name an address or a file, never what is in it.
        raise RefusedError(
            RefusalCode.FAILED, f"the cluster's API cannot be reached on this node: {_describe(error)}"
        ) from error


def _make_context(api: ClusterApi) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(api.ca_file))
    context.load_cert_chain(api.certificate_file, api.key_file)
    return context


def _describe(error: OSError) -> str:
    return (error.strerror or type(error).__name__).lower() if error.errno else str(error)


async def _carry(
    stream: TunnelStream,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    parameters: HttpParameters,
    host: str,
) -> None:
    """Both ways until one of them ends, which ends the other: a connection of HTTP is of no use half."""
    pumps = {
        asyncio.create_task(_Requests(stream, writer, parameters, host).run(), name="requests to the cluster"),
        asyncio.create_task(_pump_answers(reader, stream), name="answers of the cluster"),
    }
    try:
        done, _ = await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        for pump in done:
            error = pump.exception()
            if isinstance(error, HttpError):
                await stream.close(CloseCause(CloseCode.FAILED, error.message))
            elif error is not None and not isinstance(error, OSError | EavesError):
                raise error
    finally:
        for pump in pumps:
            pump.cancel()
        await asyncio.wait(pumps)


async def _pump_answers(reader: asyncio.StreamReader, stream: TunnelStream) -> None:
    while data := await reader.read(READ_BYTES):
        await stream.send(data)
    await stream.send_end()


class _Requests:
    """The way from the controller to the cluster."""

    def __init__(
        self, stream: TunnelStream, writer: asyncio.StreamWriter, parameters: HttpParameters, host: str
    ) -> None:
        self._stream = stream
        self._writer = writer
        self._parameters = parameters
        self._host = host
        self._received = b""

    async def run(self) -> None:
        """Until the controller says no more. Raises HttpError."""
        while True:
            head = await self._read_head()
            if head is None:
                return
            request = clusterstream.impersonate(http1.parse_request_head(head), self._parameters, self._host)
            self._writer.write(http1.encode_request_head(request))
            if http1.header(request.headers, "upgrade"):
                # Whatever the answer is, no other request comes on this connection.
                await self._pass_on()
                return
            await self._pass_body(http1.request_body(request))

    async def _read_head(self) -> bytes | None:
        while (found := http1.split_head(self._received)) is None:
            data = await self._stream.receive()
            if data is None:
                return None
            self._received += data
        head, self._received = found
        return head

    async def _pass_body(self, body: http1.Body) -> None:
        while True:
            if self._received and not body.is_over:
                _, rest = body.feed(self._received)
                self._writer.write(self._received[: len(self._received) - len(rest)])
                self._received = rest
            await self._writer.drain()
            if body.is_over:
                return
            data = await self._stream.receive()
            if data is None:
                raise HttpError("the request ended before its body did")
            self._received = data

    async def _pass_on(self) -> None:
        data: bytes | None = self._received
        while data is not None:
            self._writer.write(data)
            await self._writer.drain()
            data = await self._stream.receive()
