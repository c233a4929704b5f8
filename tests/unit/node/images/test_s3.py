"""Signature Version 4 against AWS's published vectors ("Signature Calculations for the Authorization Header", S3 API reference)."""

from __future__ import annotations

import datetime
from urllib.parse import urlsplit

import pytest

from eaves.node.images.download.s3 import Signer, want_object_path

SIGNER = Signer(
    "AKIAIOSFODNN7EXAMPLE",
    "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    "us-east-1",
    now=lambda: datetime.datetime(2013, 5, 24, tzinfo=datetime.UTC),
)


@pytest.mark.parametrize(
    ("target", "headers", "names", "signature"),
    [
        (
            "/test.txt",
            {"Range": "bytes=0-9"},
            "host;range;x-amz-content-sha256;x-amz-date",
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
        ),
        (
            "/?lifecycle",
            {},
            "host;x-amz-content-sha256;x-amz-date",
            "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
        ),
        (
            "/?max-keys=2&prefix=J",
            {},
            "host;x-amz-content-sha256;x-amz-date",
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
        ),
    ],
)
def test_published_vectors(target: str, headers: dict[str, str], names: str, signature: str) -> None:
    signed = SIGNER.headers(urlsplit(f"https://examplebucket.s3.amazonaws.com{target}"), headers)
    assert signed["Authorization"] == (
        "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,"
        f"SignedHeaders={names},Signature={signature}"
    )
    assert signed["x-amz-date"] == "20130524T000000Z"


def test_names_of_objects_are_encoded_once() -> None:
    assert want_object_path("/disks/a b+c=ü.raw") == "disks/a%20b%2Bc%3D%C3%BC.raw"
