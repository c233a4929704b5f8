"""The operator API over a real store for tests: in-process (:func:`open_api`), or served over TLS with a kubeconfig (:class:`ServedApi`).

Nothing runs behind it besides what a test starts: node-side state is written into the store by :meth:`ApiBench.put` and
:meth:`ApiBench.set_status`.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import trustme
from cryptography.hazmat.primitives.asymmetric import ec
from msgspec import Struct
from prometheus_client import CollectorRegistry

from eaves.controller.access.aggregating import RoleAggregator
from eaves.controller.access.following import AccessFollower
from eaves.controller.access.wanting import want_access
from eaves.controller.api.app import Api
from eaves.controller.api.upgrading import UpgradingProtocol
from eaves.controller.api.wiring import ApiParts, make_api
from eaves.controller.kubeconfig import Access, save_kubeconfig
from eaves.controller.objects import Objects, key_of, want_put
from eaves.controller.reconcile.garbage import GarbageCollector
from eaves.controller.reconcile.namespaces import NamespaceReconciler, want_namespaces
from eaves.controller.serving import Listener, TlsFiles
from eaves.controller.tokens import encode_token_hash
from eaves.kube.resource import Object
from eaves.store.abc import ObjectStore
from eaves.store.credentials import TokenRecord
from eaves.store.sqlite.credentials import SqliteCredentials
from eaves.store.sqlite.objects import ObjectOptions, SqliteStore
from eaves.store.sqlite.telemetry import SqliteTelemetry
from eaves.store.telemetry import Telemetry
from eaves.testing.linked_tunnel import LinkedTunnel, LinkedTunnels

T = TypeVar("T")

ADMIN_TOKEN = "eaves_admin-token-of-tests"
USER_TOKEN = "eaves_user-token-of-tests"
STORE_OPTIONS = ObjectOptions(progress_s=0.2)


class Contacted:
    """Last contacts of devices, set by tests."""

    def __init__(self) -> None:
        self.seen: dict[str, float] = {}

    async def last_seen_s(self, device_id: str) -> float:
        return self.seen.get(device_id, 0.0)


class Interested:
    """Notes which logs were wanted."""

    def __init__(self) -> None:
        self.wanted: list[tuple[str, str, int]] = []
        self.is_asked = asyncio.Event()
        self.is_connected = False

    async def want_logs(self, device_id: str, app_id: str, seconds: int) -> bool:
        self.wanted.append((device_id, app_id, seconds))
        self.is_asked.set()
        return self.is_connected


class ApiBench(Struct):
    """A running API and what it stands on."""

    api: Api
    store: ObjectStore
    telemetry: Telemetry
    contacts: Contacted
    interest: Interested

    async def put(self, obj: Object) -> None:
        """Store an object as it is, past all rules."""
        await self.store.commit([want_put(obj, None)])

    async def set_status(self, kind: str, namespace: str, name: str, status: Object) -> None:
        """Write a status as the observation reconciler does."""
        stored = await self.store.get(key_of(kind, namespace, name))
        assert stored is not None, f"no {kind} {namespace}/{name}"
        await self.put({**msgspec.json.decode(stored.value), "status": status})


@contextlib.asynccontextmanager
async def open_api(
    folder: Path,
    *,
    options: ObjectOptions = STORE_OPTIONS,
    reconcilers: bool = False,
    authority_pem: bytes | None = None,
    **parts: Any,
) -> AsyncIterator[ApiBench]:
    """An API over a new store in ``folder``, with the namespaces of a first start. ``parts`` replace those of ApiParts;
    a linked tunnel among them is closed at the end.
    """
    store = await SqliteStore.open(folder / "objects.db", options)
    telemetry = await SqliteTelemetry.open(folder / "telemetry.db")
    credentials = SqliteCredentials(store)
    await _save_tokens(credentials)
    objects = Objects(store)
    await want_namespaces(objects)
    await want_access(objects)
    access = AccessFollower(store)
    contacts, interest = Contacted(), Interested()
    account_key = ec.generate_private_key(ec.SECP256R1())
    given: dict[str, Any] = {
        "store": store,
        "telemetry": telemetry,
        "tokens": credentials,
        "contacts": contacts,
        "access": access,
        "account_keys": lambda: (account_key,),
        "interest": interest,
    }
    api = make_api(ApiParts(**(given | parts)), CollectorRegistry())
    services: list[Callable[[], Coroutine[Any, Any, None]]] = [access.run]
    if reconcilers:
        namespaces = NamespaceReconciler(objects, lambda: authority_pem)
        services += [namespaces.run, GarbageCollector(objects).run, RoleAggregator(objects).run]
    tasks = [asyncio.create_task(service()) for service in services]
    try:
        yield ApiBench(api, store, telemetry, contacts, interest)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        tunnel = parts.get("tunnel")
        if isinstance(tunnel, LinkedTunnel | LinkedTunnels):
            await tunnel.close()
        await telemetry.close()
        await store.close()


async def _save_tokens(credentials: SqliteCredentials) -> None:
    for text, user, groups in ((ADMIN_TOKEN, "admin", ("system:masters",)), (USER_TOKEN, "jane", ("staff",))):
        await credentials.save_token(TokenRecord(encode_token_hash(text), user, groups, None, 0.0))


class ServedApi:
    """The API on a loopback port over TLS, in a thread with a loop of its own. Use it as a context manager."""

    def __init__(self, folder: Path, **parts: Any) -> None:
        self.folder = folder
        self.kubeconfig = folder / "kubeconfig"
        self.bench: ApiBench
        self.server = ""
        self.ca_file = folder / "ca.pem"
        self._parts = parts
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, name="served-api")
        self._stop = asyncio.Event()
        self._failure: BaseException | None = None

    def __enter__(self) -> ServedApi:
        self._thread.start()
        self._started.wait(120)
        if self._failure is not None:
            raise self._failure
        return self

    def __exit__(self, *_error: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(120)
        assert not self._thread.is_alive(), "the served API does not stop"

    def call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the API's loop and wait for it."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(120)

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
            self._loop.run_until_complete(self._loop.shutdown_default_executor())
        except BaseException as error:  # noqa: BLE001 - handed to the test's thread
            self._failure = error
        finally:
            self._started.set()
            self._loop.close()

    async def _serve(self) -> None:
        tls = self._save_certificates()
        authority_pem = self.ca_file.read_bytes()
        async with open_api(self.folder, reconcilers=True, authority_pem=authority_pem, **self._parts) as self.bench:
            listener = Listener(
                self.bench.api, "127.0.0.1", 0, tls=tls, on_stop=self.bench.api.stop, protocol=UpgradingProtocol
            )
            self.server = f"https://127.0.0.1:{listener.port}"
            access = Access(self.server, ADMIN_TOKEN, authority_pem)
            save_kubeconfig(self.kubeconfig, access)
            serving = asyncio.create_task(listener.run())
            self._started.set()
            await self._stop.wait()
            listener.stop()
            await serving

    def _save_certificates(self) -> TlsFiles:
        authority = trustme.CA()
        issued = authority.issue_cert("localhost", "127.0.0.1")
        authority.cert_pem.write_to_path(self.ca_file)
        certificate, key = self.folder / "server.pem", self.folder / "server.key"
        certificate.write_bytes(b"".join(part.bytes() for part in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(key)
        return TlsFiles(certificate, key)
