"""Image references, taken apart as registries and container tools do."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eaves.kinds.image_reference import ImageReference, ImageReferenceError, parse_image_reference

DIGEST = "sha256:" + "ab" * 32


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("web", ImageReference("", "web")),
        ("shop/web:1.4", ImageReference("", "shop/web", "1.4")),
        ("registry.example/shop/web:1.4", ImageReference("registry.example", "shop/web", "1.4")),
        ("registry.example:5000/web", ImageReference("registry.example:5000", "web")),
        ("localhost/web", ImageReference("localhost", "web")),
        ("127.0.0.1:5000/a/b/c:latest", ImageReference("127.0.0.1:5000", "a/b/c", "latest")),
        ("[2001:db8::1]:5000/web", ImageReference("[2001:db8::1]:5000", "web")),
        (f"web@{DIGEST}", ImageReference("", "web", "", DIGEST)),
        (f"registry.example/web:1@{DIGEST}", ImageReference("registry.example", "web", "1", DIGEST)),
        ("a__b/c-d.e", ImageReference("", "a__b/c-d.e")),
    ],
)
def test_parts_of_a_reference(text: str, expected: ImageReference) -> None:
    assert parse_image_reference(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Web",
        "web:",
        "web:.1",
        "web@sha256:abc",
        f"web@{DIGEST.upper()}",
        "https://registry.example/web",
        "registry.example/",
        "registry.example//web",
        "a b",
        "-web",
        "web:" + "t" * 129,
        "web/" * 80 + "x",
        "registry.example:port/web",
    ],
)
def test_what_is_no_reference_is_refused(text: str) -> None:
    with pytest.raises(ImageReferenceError):
        parse_image_reference(text)


def test_docker_hub_keeps_plain_names_under_library() -> None:
    assert parse_image_reference("nginx").repository == "library/nginx"
    assert parse_image_reference("docker.io/nginx").repository == "library/nginx"
    assert parse_image_reference("shop/web").repository == "shop/web"
    assert parse_image_reference("registry.example/nginx").repository == "nginx"


def test_a_digest_stands_for_the_tag() -> None:
    assert parse_image_reference("web").suffixed("x") == "x:latest"
    assert parse_image_reference("web:1").suffixed("x") == "x:1"
    assert parse_image_reference(f"web:1@{DIGEST}").suffixed("x") == f"x@{DIGEST}"


@given(st.text(max_size=80))
def test_any_text_is_parsed_or_refused_and_never_more(text: str) -> None:
    try:
        reference = parse_image_reference(text)
    except ImageReferenceError:
        return
    host = f"{reference.host}/" if reference.host else ""
    tag = f":{reference.tag}" if reference.tag else ""
    digest = f"@{reference.digest}" if reference.digest else ""
    assert f"{host}{reference.path}{tag}{digest}" == text
