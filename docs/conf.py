"""Sphinx settings of the documentation."""

project = "Eaves"
extensions = ["myst_parser"]
html_theme = "furo"
html_title = "Eaves"
exclude_patterns = ["_build"]
myst_heading_anchors = 3
suppress_warnings = ["myst.xref_missing"]
