"""Images and Datastores as content trees, with credentials only sealed."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from eaves.controller.compile.model import NodeInputs
from eaves.controller.compile.node import compile_node
from eaves.testing.device_cipher import DeviceCipher
from eaves.testing.objects import make_app, make_datastore, make_edgenode, make_network, make_secret, make_volume
from eaves.wire.pb.config.devconfig_pb2 import EdgeDevConfig
from eaves.wire.pb.config.storage_pb2 import (
    CONTAINER,
    QCOW2,
    ContentTree,
    DatastoreConfig,
    DsContainerRegistry,
    DsHttp,
    DsHttps,
    DsS3,
)

DIGEST = "ab" * 32
DEVICE = DeviceCipher()


def compile_image(
    image: str, store: dict[str, Any] | None = None, secrets: Any = ()
) -> tuple[EdgeDevConfig, list[str]]:
    spec: dict[str, Any] = {"image": image}
    datastores = []
    if store is not None:
        spec["datastoreRef"] = {"name": "registry"}
        datastores = [make_datastore(**store)]
    result = compile_node(
        NodeInputs(
            edgenode=make_edgenode(),
            apps=[make_app(**spec)],
            networks=[make_network()],
            datastores=datastores,
            secrets=secrets,
            cipher=DEVICE.node_cipher,
        )
    )
    return result.config, [problem.reason for problem in result.problems]


def parts(image: str, store: dict[str, Any] | None = None) -> tuple[ContentTree, DatastoreConfig]:
    config, problems = compile_image(image, store)
    assert problems == []
    return config.contentInfo[0], config.datastores[0]


@pytest.mark.parametrize(
    ("image", "fqdn", "url", "sha256"),
    [
        ("nginx", "docker://docker.io", "library/nginx:latest", ""),
        ("shop/web:1.4", "docker://docker.io", "shop/web:1.4", ""),
        ("registry.example:5000/shop/web:1.4", "docker://registry.example:5000", "shop/web:1.4", ""),
        (f"registry.example/web:1@sha256:{DIGEST}", "docker://registry.example", f"web@sha256:{DIGEST}", DIGEST),
    ],
)
def test_an_image_alone_stands_for_its_registry(image: str, fqdn: str, url: str, sha256: str) -> None:
    tree, store = parts(image)
    assert (store.fqdn, store.dType, store.dpath, store.eaves.tls_only) == (fqdn, DsContainerRegistry, "", True)
    assert (tree.URL, tree.sha256, tree.iformat) == (url, sha256, CONTAINER)
    assert list(tree.ds_ids_list) == [tree.dsId] == [store.id]


@pytest.mark.parametrize(
    ("store", "image", "fqdn", "dpath", "url"),
    [
        ({}, "shop/web:1.4", "docker://registry.example", "", "shop/web:1.4"),
        ({}, "registry.example/shop/web:1.4", "docker://registry.example", "", "shop/web:1.4"),
        ({}, "elsewhere.example/web", "docker://registry.example", "", "web:latest"),
        ({"path": "shop"}, "web:1", "docker://registry.example", "shop", "web:1"),
        ({"path": "shop"}, "registry.example/shop/web:1", "docker://registry.example", "shop", "web:1"),
        (
            {"url": "https://registry.example/team/", "path": "shop/"},
            "web",
            "docker://registry.example",
            "team/shop",
            "web:latest",
        ),
        ({"url": "http://10.0.0.5:5000"}, "web", "http://10.0.0.5:5000", "", "web:latest"),
        ({"url": "docker.io"}, "nginx", "docker://docker.io", "", "library/nginx:latest"),
    ],
)
def test_an_image_in_a_datastore(store: dict[str, Any], image: str, fqdn: str, dpath: str, url: str) -> None:
    tree, config = parts(image, store)
    assert (config.fqdn, config.dpath, tree.URL) == (fqdn, dpath, url)
    # A node would ask some registries without TLS, as EVE does; who wants that here says http://.
    assert config.eaves.tls_only is fqdn.startswith("docker:")


def test_an_image_outside_of_its_datastore_is_told() -> None:
    assert compile_image("registry.example/other/web", {"path": "shop"})[1] == ["ImageOutsideDatastore"]
    assert compile_image("web", {"type": "HTTP", "url": "https://files.example"})[1] == ["DatastoreTypeUnsupported"]


DOCKER_CONFIG = json.dumps(
    {
        "auths": {
            "https://index.docker.io/v1/": {"auth": base64.b64encode(b"hub:p:w").decode()},
            "registry.example": {"username": "clerk", "password": "s3cret"},
        }
    }
)


@pytest.mark.parametrize(
    ("url", "data", "expected"),
    [
        ("registry.example", {"username": "clerk", "password": "s3cret"}, ("clerk", "s3cret")),
        ("registry.example", {".dockerconfigjson": DOCKER_CONFIG}, ("clerk", "s3cret")),
        ("docker.io", {".dockerconfigjson": DOCKER_CONFIG}, ("hub", "p:w")),
    ],
)
def test_credentials_reach_the_device_encrypted(url: str, data: dict[str, str], expected: tuple[str, str]) -> None:
    store = {"url": url, "credentialsSecretRef": {"name": "creds"}}
    config, problems = compile_image("web", store, [make_secret("creds", **data)])
    assert problems == []
    sent = config.datastores[0]
    assert (sent.apiKey, sent.password) == ("", "")
    block = DEVICE.decrypt(sent.cipherData)
    assert (block.dsAPIKey, block.dsPassword) == expected
    assert expected[1].encode() not in config.SerializeToString()


@pytest.mark.parametrize(
    "data",
    [
        {"user": "x"},
        {".dockerconfigjson": "{"},
        {".dockerconfigjson": "[]"},
        {".dockerconfigjson": '{"auths": {"other.example": {"auth": "eDp5"}}}'},
        {".dockerconfigjson": '{"auths": {"registry.example": {"auth": "%"}}}'},
        {".dockerconfigjson": '{"auths": {"registry.example": {}}}'},
        {".dockerconfigjson": '{"auths": {"registry.example": null}}'},
        {"username": b"\xff", "password": "x"},
    ],
)
def test_unreadable_credentials_are_told_without_repeating_them(data: dict[str, Any]) -> None:
    store = {"credentialsSecretRef": {"name": "creds"}}
    assert compile_image("web", store, [make_secret("creds", **data)])[1] == ["CredentialsUnreadable"]


def test_authorities_of_a_datastore_go_one_by_one() -> None:
    pem = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"
    _, store = parts("web", {"caCertificates": f"# first\n{pem}\n# second\n{pem}\n"})
    assert list(store.dsCertPEM) == [f"{pem}\n".encode()] * 2


def test_apps_share_a_datastore_and_not_their_images() -> None:
    result = compile_node(
        NodeInputs(edgenode=make_edgenode(), apps=[make_app("a"), make_app("b")], networks=[make_network()])
    )
    assert len(result.config.datastores) == 1
    assert len(result.config.contentInfo) == 2


def compile_volume(
    *stores: dict[str, Any], image: str = f"disks/one.qcow2@sha256:{DIGEST}", secrets: Any = ()
) -> tuple[EdgeDevConfig, list[str]]:
    """A Volume from a disk image in the first of ``stores``."""
    source = {"image": image, "datastoreRef": {"name": stores[0]["name"]}, "format": "Qcow2"}
    result = compile_node(
        NodeInputs(
            edgenode=make_edgenode(),
            volumes=[make_volume("disk", source=source)],
            datastores=[make_datastore(**store) for store in stores],
            secrets=secrets,
            cipher=DEVICE.node_cipher,
        )
    )
    return result.config, [problem.reason for problem in result.problems]


FILES: dict[str, Any] = {"name": "files", "type": "HTTP", "url": "https://files.example/images", "path": "vm"}


@pytest.mark.parametrize(
    ("store", "kind", "fqdn", "dpath", "region"),
    [
        (FILES, DsHttps, "https://files.example", "images/vm", ""),
        (FILES | {"url": "http://10.0.0.1:8000"}, DsHttp, "http://10.0.0.1:8000", "vm", ""),
        (
            {
                "name": "s",
                "type": "S3",
                "url": "https://s3.eu-west-1.amazonaws.com",
                "path": "b/k",
                "region": "eu-west-1",
            },
            DsS3,
            "https://s3.eu-west-1.amazonaws.com",
            "b/k",
            "eu-west-1",
        ),
        (
            {"name": "s", "type": "S3", "url": "minio.lan:9000", "path": "b"},
            DsS3,
            "https://minio.lan:9000",
            "b",
            "us-east-1",
        ),
    ],
)
def test_a_disk_image_of_each_kind_of_datastore(
    store: dict[str, Any], kind: int, fqdn: str, dpath: str, region: str
) -> None:
    config, problems = compile_volume(store)
    assert problems == []
    tree, sent = config.contentInfo[0], config.datastores[0]
    assert (tree.URL, tree.sha256, tree.iformat) == ("disks/one.qcow2", DIGEST, QCOW2)
    assert (sent.dType, sent.fqdn, sent.dpath, sent.region) == (kind, fqdn, dpath, region)
    assert not sent.HasField("eaves")


def test_mirrors_stand_first_for_what_is_known_by_digest() -> None:
    mirrors = [
        {"url": "http://10.0.0.9", "path": "cache"},
        {"url": "10.0.0.8", "credentialsSecretRef": {"name": "lan"}},
    ]
    store = FILES | {"mirrors": mirrors, "credentialsSecretRef": {"name": "wan"}}
    secrets = [make_secret(name, username=name, password=f"of-{name}") for name in ("lan", "wan")]
    config, problems = compile_volume(store, secrets=secrets)
    assert problems == []
    by_id = {sent.id: sent for sent in config.datastores}
    tree = config.contentInfo[0]
    first, second, own = (by_id[datastore_id] for datastore_id in tree.ds_ids_list)
    assert [(sent.fqdn, sent.dpath) for sent in (first, second, own)] == [
        ("http://10.0.0.9", "cache"),
        ("https://10.0.0.8", ""),
        ("https://files.example", "images/vm"),
    ]
    assert list(own.eaves.mirror_ids) == [first.id, second.id]
    # Each server gets its own credentials, and a mirror never those of the datastore.
    assert not first.HasField("cipherData")
    assert DEVICE.decrypt(second.cipherData).dsAPIKey == "lan"
    assert DEVICE.decrypt(own.cipherData).dsAPIKey == "wan"


def test_a_mirror_is_not_asked_what_a_tag_means() -> None:
    config, problems = compile_image("shop/web:1", {"mirrors": [{"url": "http://10.0.0.9:5000"}]})
    assert problems == []
    own = next(sent for sent in config.datastores if sent.eaves.mirror_ids)
    assert list(config.contentInfo[0].ds_ids_list) == [own.id]
    assert {sent.id for sent in config.datastores} == {own.id, *own.eaves.mirror_ids}


def test_fallbacks_follow_in_their_order() -> None:
    second = FILES | {"name": "second", "url": "https://second.example", "fallbackDatastoreRefs": [{"name": "none"}]}
    third = {"name": "third", "type": "S3", "url": "https://s3.example", "path": "b", "addressing": "VirtualHost"}
    store = FILES | {"fallbackDatastoreRefs": [{"name": "third"}, {"name": "second"}]}
    config, problems = compile_volume(store, second, third)
    assert problems == []
    by_id = {sent.id: sent for sent in config.datastores}
    order = [by_id[datastore_id] for datastore_id in config.contentInfo[0].ds_ids_list]
    assert [sent.fqdn for sent in order] == ["https://files.example", "https://s3.example", "https://second.example"]
    assert order[1].eaves.s3_addressing == "VirtualHost"
    registry = {"name": "second", "url": "registry.example"}
    assert compile_volume(store | {"fallbackDatastoreRefs": [{"name": "second"}]}, registry)[1] == [
        "DatastoreTypeMismatch"
    ]
    assert compile_volume(store)[1] == ["DatastoreNotFound"]


def test_s3_keys_may_be_named_as_amazon_names_them() -> None:
    store = {"name": "s", "type": "S3", "url": "s3.example", "path": "b", "credentialsSecretRef": {"name": "keys"}}
    secret = make_secret("keys", AWS_ACCESS_KEY_ID="AKIA", AWS_SECRET_ACCESS_KEY="s3cret")
    config, problems = compile_volume(store, secrets=[secret])
    assert problems == []
    block = DEVICE.decrypt(config.datastores[0].cipherData)
    assert (block.dsAPIKey, block.dsPassword) == ("AKIA", "s3cret")
