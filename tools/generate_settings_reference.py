"""Writes ``docs/reference/settings.md`` from the settings structs, so that no key is forgotten there. ``--check`` only compares."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "reference" / "settings.md"
SOURCES = {
    "Controller": (
        ROOT / "src/eaves/controller/settings.py",
        "ControllerSettings",
        "`/etc/eaves/controller.toml`, or `EAVES_CONTROLLER_…` variables (`EAVES_CONTROLLER_GATEWAY__LISTEN` is `gateway.listen`).",
    ),
    "Node": (
        ROOT / "src/eaves/node/settings.py",
        "NodeSettings",
        "`/etc/eaves/node.toml`, written by `eaves node join`, or `EAVES_NODE_…` variables.",
    ),
}
INTRODUCTION = """# Settings

An unknown key is an error that names the known ones. Lists in variables are separated by commas.
"""


def render_page() -> str:
    parts = [INTRODUCTION]
    for title, (source, root, text) in SOURCES.items():
        structs = {node.name: node for node in ast.parse(source.read_text()).body if isinstance(node, ast.ClassDef)}
        parts.append(f"## {title}\n\n{text}\n\n| Key | Default | Meaning |\n|---|---|---|")
        parts.extend(
            f"| `{key}` | `{default}` | {meaning} |" for key, default, meaning in list_fields(structs, root, "")
        )
        parts.append("")
    return "\n".join(parts)


def list_fields(structs: dict[str, ast.ClassDef], name: str, prefix: str) -> list[tuple[str, str, str]]:
    """(key, default, meaning) of each field; a nested struct gives the keys of its table."""
    rows: list[tuple[str, str, str]] = []
    body = structs[name].body
    for index, node in enumerate(body):
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
            continue
        key = prefix + node.target.id
        nested = ast.unparse(node.annotation)
        if nested in structs:
            rows.extend(list_fields(structs, nested, f"{key}."))
            continue
        after = body[index + 1] if index + 1 < len(body) else None
        default = ast.unparse(node.value) if node.value is not None else "(required)"
        rows.append((key, default.replace("|", "\\|"), read_docstring(after)))
    return rows


def read_docstring(node: ast.stmt | None) -> str:
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
        return " ".join(node.value.value.split()).replace("``", "`")
    return ""


def main() -> int:
    page = render_page()
    if "--check" in sys.argv:
        if PAGE.read_text() == page:
            return 0
        print("docs/reference/settings.md is not what the settings say; run make fix", file=sys.stderr)
        return 1
    PAGE.write_text(page)
    return 0


if __name__ == "__main__":
    sys.exit(main())
