"""How the commands end: an expected error is one line with its remedy, a defect keeps its traceback."""

from __future__ import annotations

import sys

import click

from eaves.kit.errors import EavesError


def run_command(command: click.Command, program: str) -> int:
    """Run a click command; answers the exit status: 0, 1 for an EavesError, 2 for wrong usage, 130 after Ctrl-C."""
    try:
        code = command.main(prog_name=program, standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return 130
    except EavesError as error:
        print(render_failure(program, error), file=sys.stderr)
        return 1
    except BrokenPipeError:
        # The reader went away (`| head`): not worth a word, but stdout must not be flushed again at exit.
        sys.stderr.close()
        return 141
    return code if isinstance(code, int) else 0


def render_failure(program: str, error: EavesError) -> str:
    """One line, then what was seen and what to do, each on a line of its own if known."""
    lines = [f"{program}: {error}"]
    if error.details:
        lines.extend(f"  {line}" for line in error.details.splitlines()[-5:])
    if error.resolution:
        lines.append(f"  to do: {error.resolution}")
    return "\n".join(lines)
