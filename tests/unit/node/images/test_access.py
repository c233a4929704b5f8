"""How datastores are asked."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from eaves.node.desired.model import DatastoreKind, DesiredDatastore, DesiredImage, ImageFormat, S3Addressing, Secret
from eaves.node.images.access import FetchOptions, want_path, want_setup
from eaves.node.images.errors import ImageUnsupportedError
from eaves.node.images.ways import Way, WebProxy

STORE = DesiredDatastore("s", DatastoreKind.S3, "https://s3.eu-west-1.amazonaws.com", "disks/vm", "eu-west-1")
OPTIONS = FetchOptions(stalled_after_s=5.0, rate_bytes_per_s=100)


def ask(store: DesiredDatastore, reference: str = "/one.raw") -> tuple[str, str]:
    image = DesiredImage("i", "one", reference, ImageFormat.RAW, "", 0, 0, (store,))
    return want_setup(store, Way(), Path("/b"), OPTIONS, "image one").base, want_path(image, store)


def change(**changes: object) -> DesiredDatastore:
    return msgspec.structs.replace(STORE, **changes)


@pytest.mark.parametrize(
    ("store", "base", "path"),
    [
        (STORE, "https://disks.s3.eu-west-1.amazonaws.com", "vm/one.raw"),
        (change(path="disks"), "https://disks.s3.eu-west-1.amazonaws.com", "one.raw"),
        (change(addressing=S3Addressing.PATH), STORE.server, "disks/vm/one.raw"),
        # A name with dots does not fit Amazon's certificate.
        (change(path="my.disks"), STORE.server, "my.disks/one.raw"),
        (change(server="http://10.0.0.5:9000"), "http://10.0.0.5:9000", "disks/vm/one.raw"),
        (
            change(server="https://s3.lan", addressing=S3Addressing.VIRTUAL_HOST),
            "https://disks.s3.lan",
            "vm/one.raw",
        ),
        (change(kind=DatastoreKind.HTTPS, server="https://files.lan"), "https://files.lan", "disks/vm/one.raw"),
        (
            change(kind=DatastoreKind.REGISTRY, server="registry.lan:5000"),
            "https://registry.lan:5000",
            "disks/vm/one.raw",
        ),
        (
            change(kind=DatastoreKind.REGISTRY, server="registry.lan", plain_http=True),
            "http://registry.lan",
            "disks/vm/one.raw",
        ),
        (change(kind=DatastoreKind.REGISTRY, server="docker.io"), "https://registry-1.docker.io", "disks/vm/one.raw"),
    ],
)
def test_server_and_path(store: DesiredDatastore, base: str, path: str) -> None:
    assert ask(store) == (base, path)


def test_what_holds_for_all_downloads_is_handed_on() -> None:
    store = change(username="me", password=Secret("pw"), ca_pems=("pem",))
    setup = want_setup(store, Way("10.0.0.2"), Path("/b"), OPTIONS, "x")
    assert (setup.address, setup.stalled_after_s, setup.rate_bytes_per_s, setup.folder) == ("10.0.0.2", 5.0, 100, "/b")
    assert (setup.username, setup.password, setup.ca_pems, setup.region) == ("me", "pw", ("pem",), "eu-west-1")


def test_a_registry_that_may_lack_tls_is_named_so() -> None:
    store = change(kind=DatastoreKind.REGISTRY, server="10.0.0.5:5000", may_lack_tls=True)
    setup = want_setup(store, Way(), Path("/b"), OPTIONS, "x")
    assert (setup.base, setup.may_lack_tls) == ("https://10.0.0.5:5000", True)


def test_a_way_with_a_proxy_of_its_own_takes_no_other() -> None:
    options = msgspec.structs.replace(OPTIONS, proxy=WebProxy((("HTTPS_PROXY", "http://node:1"),), ca_pems=("node",)))
    store = change(ca_pems=("store",))
    setup = want_setup(store, Way(), Path("/b"), options, "x")
    assert (setup.proxies, setup.pac, setup.ca_pems) == ({"HTTPS_PROXY": "http://node:1"}, "", ("store", "node"))
    own = Way("10.0.0.2", "eth0", WebProxy((("HTTP_PROXY", "http://own:2"),), pac="file", ca_pems=("own",)))
    setup = want_setup(store, own, Path("/b"), options, "x")
    assert (setup.address, setup.interface) == ("10.0.0.2", "eth0")
    assert (setup.proxies, setup.pac, setup.ca_pems) == ({"HTTP_PROXY": "http://own:2"}, "file", ("store", "own"))
    direct = want_setup(store, Way(proxy=WebProxy()), Path("/b"), options, "x")
    assert (direct.proxies, direct.ca_pems) == ({}, ("store",))


def test_other_kinds_are_refused() -> None:
    with pytest.raises(ImageUnsupportedError, match="kind other"):
        ask(change(kind=DatastoreKind.OTHER))
