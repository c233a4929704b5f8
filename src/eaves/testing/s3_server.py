"""A real S3 server on loopback that checks signatures, for tests: moto's, in a process of its own."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType

import boto3

from eaves.node.desired.model import DatastoreKind, DesiredDatastore, Secret

REGION = "eu-central-1"
BUCKET = "disks"
_START_LIMIT_S = 60.0
_ACTIONS_WITHOUT_KEYS = 6
"""Making the user, her key, her policy and the bucket; from then on every request must be signed by her."""
_POLICY = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}


class S3Server:
    """Use as a context manager. ``key_id`` and ``secret`` belong to the one user who may read."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.key_id = ""
        self.secret = ""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> S3Server:
        log = (self._folder / "s3.log").open("wb")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-p", str(self.port)],
            stdout=log,
            stderr=log,
            env={**os.environ, "INITIAL_NO_AUTH_ACTION_COUNT": str(_ACTIONS_WITHOUT_KEYS)},
        )
        log.close()
        self._wait()
        self._make_user()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def put(self, key: str, content: bytes) -> None:
        client = self._client("s3", self.key_id, self.secret)
        client.put_object(Bucket=BUCKET, Key=key, Body=content)

    def datastore(self, **changes: object) -> DesiredDatastore:
        values: dict[str, object] = {
            "id": "s3",
            "kind": DatastoreKind.S3,
            "server": self.url,
            "path": f"{BUCKET}/vm images",
            "region": REGION,
            "username": self.key_id,
            "password": Secret(self.secret),
        }
        return DesiredDatastore(**(values | changes))  # type: ignore[arg-type]

    def _make_user(self) -> None:
        iam = self._client("iam", "any", "any")
        iam.create_user(UserName="node")
        key = iam.create_access_key(UserName="node")["AccessKey"]
        iam.put_user_policy(UserName="node", PolicyName="read", PolicyDocument=json.dumps(_POLICY))
        self.key_id, self.secret = key["AccessKeyId"], key["SecretAccessKey"]
        client = self._client("s3", self.key_id, self.secret)
        client.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
        for _ in range(_ACTIONS_WITHOUT_KEYS - 4):
            client.list_buckets()

    def _client(self, service: str, key_id: str, secret: str):  # type: ignore[no-untyped-def]  # boto3 has no types
        return boto3.client(
            service,
            endpoint_url=self.url,
            region_name=REGION,
            aws_access_key_id=key_id,
            aws_secret_access_key=secret,
        )

    def _wait(self) -> None:
        deadline = time.monotonic() + _START_LIMIT_S
        while time.monotonic() < deadline:
            assert self._process is not None
            if self._process.poll() is not None:
                break
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        raise RuntimeError(f"the S3 server does not start: {(self._folder / 's3.log').read_text()[-2000:]}")
