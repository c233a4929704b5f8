"""``k3s token create|delete|generate|list|rotate``."""

from __future__ import annotations

import base64
import datetime
import json
import re
import secrets
import string
from collections.abc import Sequence

import yaml

from tests.k3s import bootstrap, clock, joining, log, tokens
from tests.k3s.api import Api, ApiError, Object
from tests.k3s.etcd import Etcd, EtcdError
from tests.k3s.options import TOKEN, Options, parse
from tests.k3s.paths import DataDir, write

_SECRETS = "/api/v1/namespaces/kube-system/secrets"
_FORM = re.compile(r"([a-z0-9]{6})\.([a-z0-9]{16})")
_UNITS = {"h": 3600, "m": 60, "s": 1}
_GROUP = "system:bootstrappers:k3s:default-node-token"


def run(argv: Sequence[str]) -> int:
    """Raises FatalError."""
    options = parse(TOKEN, argv)
    command, names = (options.arguments or [""])[0], options.arguments[1:]
    data = DataDir(options.text("data-dir"))
    try:
        if command == "generate":
            print(_generate())
        elif command == "create":
            print(_create(data, options, (names or [_generate()])[0]))
        elif command == "list":
            _print(_api(data), options)
        elif command == "delete":
            for name in names:
                _api(data).delete(f"{_SECRETS}/bootstrap-token-{name.partition('.')[0]}")
                print(f'bootstrap token "{name.partition(".")[0]}" deleted')
        elif command == "rotate":
            _rotate(data, options)
        else:
            log.fatal(f"No help topic for '{command}'")
    except (ApiError, EtcdError) as error:
        log.fatal(str(error))
    return 0


def _generate() -> str:
    letters = string.ascii_lowercase + string.digits
    first, second = ("".join(secrets.choice(letters) for _ in range(count)) for count in (6, 16))
    return f"{first}.{second}"


def _create(data: DataDir, options: Options, token: str) -> str:
    found = _FORM.fullmatch(token)
    if found is None:
        log.fatal(f"the bootstrap token {token} is not of the form [a-z0-9]{{6}}.[a-z0-9]{{16}}")
    content = {
        "token-id": found[1],
        "token-secret": found[2],
        "auth-extra-groups": ",".join(options.list("groups") or [_GROUP]),
    }
    content |= {f"usage-bootstrap-{usage}": "true" for usage in options.list("usages") or ["signing", "authentication"]}
    if options.text("description"):
        content["description"] = options.text("description")
    life = sum(int(n) * _UNITS[unit] for n, unit in re.findall(r"(\d+)([hms])", options.text("ttl")))
    if life:
        ends = clock.now() + datetime.timedelta(seconds=life)
        content["expiration"] = ends.strftime("%Y-%m-%dT%H:%M:%SZ")
    secret = {
        "metadata": {"name": f"bootstrap-token-{found[1]}", "namespace": "kube-system"},
        "type": "bootstrap.kubernetes.io/token",
        "data": {key: base64.b64encode(value.encode()).decode() for key, value in content.items()},
    }
    _api(data).call("POST", _SECRETS, secret)
    return f"K10{tokens.hash_authority((data.tls / 'server-ca.crt').read_bytes())}::{token}"


def _print(api: Api, options: Options) -> None:
    rows = []
    for secret in api.items(_SECRETS):
        if secret.get("type") == "bootstrap.kubernetes.io/token":
            content = {key: base64.b64decode(value).decode() for key, value in secret["data"].items()}
            usages = [key.removeprefix("usage-bootstrap-") for key in content if key.startswith("usage-bootstrap-")]
            rows.append((content, sorted(usages)))
    if options.text("output") == "json":
        print(json.dumps([_describe(content, usages) for content, usages in rows]))
        return
    print(f"{'TOKEN':26}{'TTL':22}{'USAGES':28}DESCRIPTION")
    for content, usages in rows:
        expires, described = content.get("expiration", "<forever>"), content.get("description", "<none>")
        print(f"{content['token-id']:26}{expires:22}{','.join(usages):28}{described}")


def _describe(content: dict[str, str], usages: list[str]) -> Object:
    described: Object = {
        "token": content["token-id"],
        "usages": usages,
        "groups": content["auth-extra-groups"].split(","),
    }
    return {**described, **{key: content[key] for key in ("description", "expiration") if key in content}}


def _rotate(data: DataDir, options: Options) -> None:
    """Asks the server; running servers and agents know the old token until they restart."""
    old = tokens.parse(options.text("token") or data.token.read_text())
    new = tokens.parse(options.text("new-token")).password if options.text("new-token") else ""
    server = options.text("server") or "https://127.0.0.1:6443"
    try:
        joining.Supervisor(server, old.password, "server").put_json("/v1-k3s/token", {"newToken": new})
    except joining.JoinError as error:
        log.fatal(str(error))
    log.warn("Token rotated, restart k3s nodes with new token")


def rotate(data: DataDir, old: str, new: str) -> None:
    """Puts the cluster's keys in its datastore under the new token. Fatal for a datastore without them."""
    etcd = Etcd(data, "127.0.0.1", "")
    if not etcd.has_data:
        log.fatal("this stand-in for K3s rotates the token of clusters with embedded etcd only")
    files = bootstrap.load(etcd, old)
    if not files:
        log.fatal("the datastore holds no bootstrap data")
    etcd.run("put", *bootstrap.entry(files, new))
    if new != old:
        bootstrap.remove(etcd, old)
    write(data.token, tokens.Token("", "server", new).format((data.tls / "server-ca.crt").read_bytes()) + "\n")


def _api(data: DataDir) -> Api:
    tls = data.tls
    document = yaml.safe_load((data.credentials / "admin.kubeconfig").read_text())
    server = document["clusters"][0]["cluster"]["server"].removeprefix("https://")
    return Api(server, tls / "server-ca.crt", tls / "client-admin.crt", tls / "client-admin.key")
