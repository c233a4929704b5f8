"""How the commands end: an expected error is one line with its remedy, a defect keeps its traceback."""

from __future__ import annotations

import sys

import click

from eaves.kit.errors import EavesError, render_failure


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
