"""Images and Datastores as content trees, with credentials only sealed."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from eaves.controller.compile.model import NodeInputs
from eaves.controller.compile.node import compile_node
from eaves.testing.device_cipher import DeviceCipher
from eaves.testing.objects import make_app, make_datastore, make_edgenode, make_network, make_secret
from eaves.wire.pb.config.devconfig_pb2 import EdgeDevConfig
from eaves.wire.pb.config.storage_pb2 import CONTAINER, ContentTree, DatastoreConfig, DsContainerRegistry

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
    assert (store.fqdn, store.dType, store.dpath) == (fqdn, DsContainerRegistry, "")
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
