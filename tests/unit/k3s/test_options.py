"""The stand-in merges options as K3s's documentation says."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.k3s import log, options


def write_files(folder: Path, **files: str) -> Path:
    config = folder / "config.yaml"
    drop_ins = folder / "config.yaml.d"
    drop_ins.mkdir()
    for name, text in files.items():
        (config if name == "config" else drop_ins / f"{name}.yaml").write_text(text)
    return config


def test_the_documented_example_of_several_files(tmp_path: Path) -> None:
    config = write_files(
        tmp_path,
        config="token: boop\nnode-label: [foo=bar, bar=baz]\n",
        test1="write-kubeconfig-mode: 600\nnode-taint: ['alice=bob:NoExecute']\n",
        test2="write-kubeconfig-mode: 777\nnode-label: [other=what, foo=three]\nnode-taint+: ['charlie=delta:NoSchedule']\n",
    )
    found = options.parse(options.SERVER, ["--config", str(config)], {})
    assert found.text("write-kubeconfig-mode") == "777"
    assert found.text("token") == "boop"
    assert found.list("node-label") == ["other=what", "foo=three"]
    assert found.list("node-taint") == ["alice=bob:NoExecute", "charlie=delta:NoSchedule"]


def test_line_over_environment_over_files(tmp_path: Path) -> None:
    config = write_files(tmp_path, config="token: file\nnode-name: file\nserver: https://file\nnode-label: [a=file]\n")
    environment = {"K3S_CONFIG_FILE": str(config), "K3S_TOKEN": "environment", "K3S_NODE_NAME": "environment"}
    found = options.parse(options.SERVER, ["-t", "line", "--node-label", "a=line", "--node-label=b=line"], environment)
    assert [found.text(name) for name in ("token", "node-name", "server")] == ["line", "environment", "https://file"]
    assert found.list("node-label") == ["a=line", "b=line"]


def test_switches_and_their_values() -> None:
    found = options.parse(options.SERVER, ["--cluster-init", "--disable-agent=false"], {})
    assert (found.is_on("cluster-init"), found.is_on("disable-agent")) == (True, False)


def test_arguments_of_components_keep_their_commas() -> None:
    found = options.parse(
        options.AGENT, ["--kubelet-arg", "feature-gates=A=true,B=false", "--node-label", "a=1,b=2"], {}
    )
    assert found.list("kubelet-arg") == ["feature-gates=A=true,B=false"]
    assert found.list("node-label") == ["a=1", "b=2"]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--no-such=1"], "flag provided but not defined: -no-such"),
        (["--cluster-init"], "flag provided but not defined: -cluster-init"),
        (["--token"], "flag needs an argument: -token"),
        (["--lb-server-port", "x"], 'invalid value "x" for flag -lb-server-port'),
        (["--selinux=maybe"], 'invalid boolean value "maybe" for -selinux'),
    ],
)
def test_what_an_agent_refuses(argv: list[str], message: str) -> None:
    with pytest.raises(log.FatalError, match=message):
        options.parse(options.AGENT, argv, {})


def test_an_unknown_key_of_a_file_is_skipped_with_a_word(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = write_files(tmp_path, config="no-such: 1\ntoken: kept\n")
    assert options.parse(options.AGENT, ["--config", str(config)], {}).text("token") == "kept"
    assert "Unknown flag --no-such found in config.yaml, skipping" in capsys.readouterr().err
