"""The documentation says what is true: its manifests are valid, its links lead somewhere, its commands exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from eaves.cli import main, plugin
from eaves.kinds.registry import RESOURCES
from eaves.kube import schema

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
FENCE = re.compile(r"^( *)```(\w+)\n(.*?)^\1```", re.MULTILINE | re.DOTALL)


def blocks(page: Path, language: str) -> list[str]:
    return [body for _, kind, body in FENCE.findall(page.read_text()) if kind == language]


def manifests() -> list[tuple[str, dict[str, object]]]:
    texts = [(str(page.relative_to(ROOT)), text) for page in PAGES for text in blocks(page, "yaml")]
    texts += [(str(path.relative_to(ROOT)), path.read_text()) for path in sorted((ROOT / "examples").glob("*.yaml"))]
    return [(name, document) for name, text in texts for document in yaml.safe_load_all(text) if document]


@pytest.mark.parametrize(("name", "manifest"), manifests())
def test_manifests_fit_their_kinds(name: str, manifest: dict[str, object]) -> None:
    resource = next(r for r in RESOURCES if (r.api_version, r.kind) == (manifest["apiVersion"], manifest["kind"]))
    assert list(schema.find_unknown(resource.schema, manifest)) == [], name
    assert schema.validate_schema(resource.schema, manifest) == [], name
    schema.apply_defaults(resource.schema, manifest)
    # A reader has to put something in where the dots are.
    assert "…" in str(manifest) or list(resource.validate(manifest, None)) == [], name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())
    assert [target for target in targets if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_named_tests_exist(page: Path) -> None:
    named = re.findall(r"`([\w/]+\.py)::(\w+)`", page.read_text())
    files = {file: (ROOT / "tests" / file) for file, _ in named}
    texts = {file: path.read_text() if path.exists() else "" for file, path in files.items()}
    assert [f"{file}::{name}" for file, name in named if f"def {name}(" not in texts[file]] == []


@pytest.mark.parametrize("folder", ["howto", "reference"])
def test_an_index_links_every_page(folder: str) -> None:
    index = ROOT / "docs" / folder / "index.md"
    pages = {page.stem for page in index.parent.glob("*.md")} - {"index"}
    text, _, tree = index.read_text().partition("```{toctree}")
    assert pages - set(re.findall(r"\]\(([\w-]+)\.md\)", text)) == set()
    assert pages - set(tree.split()) == set()


def commands() -> set[str]:
    shown = "\n".join(text for page in PAGES for text in blocks(page, "console")) + "\n".join(
        page.read_text() for page in PAGES
    )
    return {
        match.group(0)
        for match in re.finditer(
            r"\b(?:kubectl )?eaves (?:controller|node|completion|approve|console|reboot|vnc|why|onboarding-key|k3s-release)"
            r"(?: [a-z][a-z-]+)?",
            shown,
        )
    }


@pytest.mark.parametrize("command", sorted(commands()))
def test_commands_exist(command: str) -> None:
    words = command.split()
    root = plugin.command if words[0] == "kubectl" else main.command
    words = words[2:] if words[0] == "kubectl" else words[1:]
    # A further word is a subcommand of a group, or an argument: a group would refuse an unknown one even before --help.
    assert CliRunner().invoke(root, [*words, "--help"]).exit_code == 0


def test_each_entry_of_the_outside_lists_has_a_test_or_a_reason() -> None:
    text = (ROOT / "docs/reference/eve-acceptance.md").read_text()
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if re.match(r"\| (Eden|evetest) ", line)]
    assert len(rows) > 100
    reasons = re.compile(
        r"`[\w/]+\.py|[Nn]ot (apply|built|on a host)|Tests of Eden|Measured otherwise|Hardware that tests"
    )
    assert [row for row in rows if len(row) != 3 or not reasons.search(row[2])] == []
