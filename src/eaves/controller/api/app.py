"""The pipeline that every request of the operator API goes through: who, may they, what, answer, count.

:class:`Api` is an ASGI application. It authenticates, authorises and sends; what a resource path means is decided by the
``resources`` handler, other paths by ``pages``.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Protocol

import msgspec

from eaves.controller.api.audit import RequestLog
from eaves.controller.api.authentication import Authenticator
from eaves.controller.api.authorization import Attributes, Authorizer, check_allowed
from eaves.controller.api.delivery import Streams, send_response
from eaves.controller.api.faults import error_response
from eaves.controller.api.http import TEXT, Passage, Receive, Request, Response, Scope, Send, Stream
from eaves.controller.api.impersonating import HEADER_PREFIX, impersonate
from eaves.controller.api.routing import Target, check_timeout, name_asked, parse_target, verb_of
from eaves.controller.api.sockets import Conversation
from eaves.kit.errors import EavesError
from eaves.kube import status
from eaves.kube.resource import Verb

Answer = Response | Stream | Conversation | Passage

_ACTING = frozenset({"exec", "attach", "portforward"})
"""Subresources that a kube-apiserver asks ``create`` for, by whatever method they are opened."""

NOT_FOUND = Response(b"404 page not found\n", 404, TEXT, {"X-Content-Type-Options": "nosniff"})


class ResourceHandler(Protocol):
    """Serves resource paths."""

    def knows(self, request: Request) -> bool:
        """Whether the request's target is a served resource in a served version."""
        ...

    def refuse(self, target: Target) -> Response:
        """The answer for a target that is not known."""
        ...

    async def serve(self, request: Request) -> Answer: ...


PageHandler = Callable[[Request], Awaitable[Answer | None]]
"""Serves a plain path; None = there is no such page."""


class Api:
    """The operator API as an ASGI application."""

    def __init__(
        self,
        *,
        authenticator: Authenticator,
        authorizer: Authorizer,
        resources: ResourceHandler,
        pages: PageHandler,
        requests: RequestLog,
        on_stop: Callable[[], None] = lambda: None,
    ) -> None:
        self._authenticator = authenticator
        self._authorizer = authorizer
        self._resources = resources
        self._pages = pages
        self._requests = requests
        self._on_stop = on_stop
        self._streams = Streams()

    def stop(self) -> None:
        """End the endless answers and what is kept for later ones: the listener is stopping."""
        self._streams.stop()
        self._on_stop()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            return
        started = time.perf_counter()
        request = Request(scope, receive, str(uuid.uuid4()))
        is_known = False
        try:
            request.target = parse_target(request.path)
            await self._identify(request)
            is_known = request.target is not None and self._resources.knows(request)
            answer = await self._answer(request, is_known)
        except EavesError as error:
            answer = error_response(error, request.header(b"accept"))
        if isinstance(answer, Conversation) and not request.is_websocket:
            answer = error_response(status.bad_request("Upgrade request required"))
        code = 200
        if isinstance(answer, Passage):
            try:
                code = await self._streams.pass_on(request, answer, send)
            except EavesError as error:
                answer = error_response(error)
            else:
                self._requests.finished(request, code, time.perf_counter() - started, is_known=is_known)
                return
        code = answer.status_code if isinstance(answer, Response) else code
        if isinstance(answer, Response):
            await send_response(request, answer, send)
            self._requests.finished(request, code, time.perf_counter() - started, is_known=is_known)
            return
        try:
            if isinstance(answer, Conversation):
                await self._streams.converse(request, answer, send)
            else:
                await self._streams.send(request, answer, send)
        finally:
            self._requests.finished(request, code, time.perf_counter() - started, is_known=is_known)

    async def _identify(self, request: Request) -> None:
        identity = request.identity = await self._authenticator.authenticate(request)
        # A plain loop: this is done for every request.
        for name, _ in request.scope["headers"]:
            if name.startswith(HEADER_PREFIX):
                request.identity = await impersonate(request, self._authorizer)
                request.impersonator = identity
                break

    async def _answer(self, request: Request, is_known: bool) -> Answer:
        target = request.target
        if target is None:
            return await self._answer_page(request)
        check_timeout(request.scope["query_string"], request.query)
        verb = verb_of(request.method, target, request.query)
        request.verb = verb or request.method.lower()
        await self._check_allowed(request, target)
        if not is_known:
            return self._resources.refuse(target)
        return await self._resources.serve(request)

    async def _check_allowed(self, request: Request, target: Target) -> None:
        """Raises ApiError 403."""
        is_list = not target.name and request.verb in (Verb.LIST, Verb.WATCH)
        if is_list and (name := name_asked(request.scope["query_string"])):
            # Whoever may see one object by name may also list and watch that one.
            target = msgspec.structs.replace(target, name=name)
        await check_allowed(self._authorizer, Attributes(request.identity, request.verb, target))
        if request.is_websocket and request.verb == Verb.GET and target.subresource in _ACTING:
            # A WebSocket begins with a GET whatever it is for; who may only read must not run commands by it.
            await check_allowed(self._authorizer, Attributes(request.identity, Verb.CREATE, target))

    async def _answer_page(self, request: Request) -> Answer:
        verb = request.method.lower()
        await check_allowed(self._authorizer, Attributes(request.identity, verb, None, request.path))
        answer = await self._pages(request)
        return NOT_FOUND if answer is None else answer
