"""Which proxy a port's settings mean."""

from __future__ import annotations

import pytest

from eaves.node.desired.port_model import ProxyScheme, ProxyServer, ProxySetup
from eaves.node.portproxies import want_web_proxy
from eaves.node.ports.errors import PortError
from eaves.node.ports.proxies import choose_server, is_exception, list_wpad_urls, parse_answer

HTTP = ProxyServer(ProxyScheme.HTTP, "plain.example", 8080)
HTTPS = ProxyServer(ProxyScheme.HTTPS, "secure.example", 8443)
SOCKS = ProxyServer(ProxyScheme.SOCKS, "socks.example", 1080)


@pytest.mark.parametrize(
    ("servers", "expected"),
    [((), None), ((HTTP,), HTTP), ((HTTP, HTTPS), HTTPS), ((SOCKS,), None), ((SOCKS, HTTP), HTTP)],
)
def test_the_proxy_of_https_is_taken_and_else_that_of_http(
    servers: tuple[ProxyServer, ...], expected: ProxyServer | None
) -> None:
    assert choose_server(ProxySetup(servers), "controller.example") == expected


@pytest.mark.parametrize(
    ("host", "exceptions", "expected"),
    [
        ("controller.example", (), False),
        ("localhost", (), True),
        ("127.0.0.1", (), True),
        ("::1", (), True),
        ("controller.shop.example", (".shop.example",), True),
        ("controller.shop.example", ("shop.example",), True),
        ("controller.shop.example", ("*.shop.example",), True),
        ("badshop.example", ("shop.example",), False),
        ("10.1.2.3", ("10.0.0.0/8",), True),
        ("11.1.2.3", ("10.0.0.0/8",), False),
        ("2001:db8::7", ("2001:db8::/32",), True),
        ("controller.example", ("10.0.0.0/8", "nonsense/x"), False),
        ("anything.example", ("*",), True),
    ],
)
def test_exceptions(host: str, exceptions: tuple[str, ...], expected: bool) -> None:
    assert is_exception(host, exceptions) is expected
    assert (choose_server(ProxySetup((HTTP,), exceptions), host) is None) is expected


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("DIRECT", None),
        ("PROXY proxy.example:8080; DIRECT", ("proxy.example", 8080)),
        ("SOCKS socks.example:1080; PROXY proxy.example:81", ("proxy.example", 81)),
        ("proxy proxy.example", ("proxy.example", 3128)),
        ("HTTP [2001:db8::1]:8080", ("2001:db8::1", 8080)),
        ("SOCKS5 x:1;DIRECT", None),
    ],
)
def test_answers_of_files(answer: str, expected: tuple[str, int] | None) -> None:
    found = parse_answer(answer)
    assert (None if found is None else (found.host, found.port)) == expected


@pytest.mark.parametrize("answer", ["", "SOCKS x:1", "PROXY :99999", "None"])
def test_answers_that_cannot_be_followed(answer: str) -> None:
    with pytest.raises(PortError, match="names no proxy that can be used"):
        parse_answer(answer)


def test_where_a_file_is_looked_for() -> None:
    assert list_wpad_urls(["shop.eu.example", "eu.example"]) == [
        "http://wpad.shop.eu.example/wpad.dat",
        "http://wpad.eu.example/wpad.dat",
    ]
    assert list_wpad_urls(["lan"]) == ["http://wpad.lan/wpad.dat"]
    assert list_wpad_urls([]) == []


def test_what_downloads_take() -> None:
    http = ProxyServer(ProxyScheme.HTTP, "one.example", 81)
    https = ProxyServer(ProxyScheme.HTTPS, "2001:db8::1", 82)
    found = want_web_proxy(
        ProxySetup(servers=(http, https), exceptions=(".shop.example", "10.0.0.0/8"), ca_pems=("ca",))
    )
    assert dict(found.variables) == {
        "HTTPS_PROXY": "http://[2001:db8::1]:82",
        "HTTP_PROXY": "http://one.example:81",
        "NO_PROXY": ".shop.example,10.0.0.0/8",
    }
    assert found.ca_pems == ("ca",)
    assert dict(want_web_proxy(ProxySetup(servers=(http,))).variables)["HTTPS_PROXY"] == "http://one.example:81"
    assert "HTTP_PROXY" not in dict(want_web_proxy(ProxySetup(servers=(https,))).variables)
