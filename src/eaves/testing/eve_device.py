"""An EVE device of a whole controller: it knows the public device API alone and skips every field of Eaves' own."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable

from google.protobuf.message import Message

from eaves.testing.device import Device, make_onboarding_pair
from eaves.testing.device_transport import TlsTransport
from eaves.testing.deviceside import make_onboarding_key
from eaves.testing.system import ControllerHost
from eaves.wire.paths import Endpoint
from eaves.wire.pb.config.devconfig_pb2 import ConfigRequest, ConfigResponse, EdgeDevConfig
from eaves.wire.pb.info import info_pb2

FIRST_EAVES_FIELD = 100_000
WAIT_S = 60.0


@contextlib.asynccontextmanager
async def join_device(controller: ControllerHost, serial: str) -> AsyncIterator[Device]:
    """A device of a running controller, registered with a key that leaves the approval to the operator; it is named by its serial."""
    found = await asyncio.to_thread(
        controller.kubectl.ok, "get", "configmap", "-n", "kube-public", "eaves-gateway", "-o", "json"
    )
    root_pem = found.json()["data"]["root-certificate.pem"]
    pair = make_onboarding_pair()
    key = {**make_onboarding_key("eve", pair, approval="Manual"), "metadata": {"name": serial}}
    await asyncio.to_thread(controller.operator.create, "onboardingkeys", key)
    context = ssl.create_default_context(cadata=root_pem)
    device = Device(TlsTransport("127.0.0.1", controller.gateway_port, context), pair, serial=serial)
    async with asyncio.timeout(WAIT_S):
        while True:
            # The gateway learns of the key a moment after the operator API took it.
            if (await device.register()).status in (200, 201):
                break
            await asyncio.sleep(0.05)
    await device.onboard(root_pem.encode())
    try:
        yield device
    finally:
        assert isinstance(device.transport, TlsTransport)
        await device.transport.close()


def without_eaves(config: EdgeDevConfig) -> EdgeDevConfig:
    """The config as a device reads it that skips all of Eaves' own fields."""
    copy = EdgeDevConfig.FromString(config.SerializeToString())
    assert copy.HasField("eaves")
    drop_eaves_fields(copy)
    assert b"eaves" not in str(copy).encode().replace(b"eaves.dev", b"")
    return copy


def drop_eaves_fields(message: Message) -> None:
    for field, value in message.ListFields():
        if field.number >= FIRST_EAVES_FIELD:
            message.ClearField(field.name)
        elif isinstance(value, Message):
            drop_eaves_fields(value)
        elif field.message_type is not None and not field.message_type.GetOptions().map_entry:
            for item in value:
                drop_eaves_fields(item)


def device_info(device: Device) -> info_pb2.ZInfoMsg:
    """What EVE tells about itself."""
    message = device.info()
    info = message.dinfo
    info.state = info_pb2.ZDEVICE_STATE_ONLINE
    info.swList.add(activated=True, partitionLabel="IMGA", shortVersion="14.5.0-kvm-amd64")
    info.storageList.add(mountPath="/persist", total=20480, storageLocation=True)
    port = info.systemAdapter.status.add().ports.add(ifname="eth0", name="eth0", isMgmt=True, up=True)
    port.IPAddrs.append("192.0.2.7")
    return message


async def send(device: Device, message: info_pb2.ZInfoMsg) -> None:
    assert (await device.send_info(message)).status == 201


async def poll_until(device: Device, is_enough: Callable[[EdgeDevConfig], bool]) -> bytes:
    """Poll until the config is as wanted; answers the payload with its signature taken off."""
    async with asyncio.timeout(WAIT_S):
        while True:
            request = ConfigRequest(configHash=device.config_hash, integrity_token=device.token)
            reply = await device.post(Endpoint.CONFIG, request)
            assert reply.status in (200, 304), reply
            if reply.status == 200:
                payload = device.open(reply.body)
                response = ConfigResponse.FromString(payload)
                device.config, device.config_hash = response.config, response.configHash
                if is_enough(response.config):
                    return payload
            await asyncio.sleep(0.05)
