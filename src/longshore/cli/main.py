# SPDX-License-Identifier: Apache-2.0
"""`longshore`: the server, and every verb of the API for people and scripts.

What a verb needs is loaded when it runs: `--help` costs no HTTP library, `task list` no server.
"""

import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer
from typer.exceptions import Abort, TyperException

from longshore import __version__
from longshore.cli import artifact, output, package, project, run, runtime, secret, task, token
from longshore.cli.doctor import doctor
from longshore.cli.ending import Interrupted, Stop
from longshore.cli.serve import serve
from longshore.cli.task_run import run as task_run
from longshore.domain.errors import LongshoreError

INTERRUPTED = Interrupted.code

app = typer.Typer(
    name="longshore",
    help="Custom tasks: AWS-Lambda-style functions that process and report test results.",
    epilog="LONGSHORE_URL, LONGSHORE_TOKEN and LONGSHORE_PROJECT name server, caller and project.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
app.command()(serve)
app.add_typer(token.app, name="token")
app.add_typer(project.app, name="project")
task.app.command("run")(task_run)
app.add_typer(task.app, name="task")
app.add_typer(run.app, name="run")
app.add_typer(secret.app, name="secret")
app.add_typer(artifact.app, name="artifact")
app.add_typer(package.app, name="package")
app.add_typer(runtime.app, name="runtime")
app.command()(doctor)


@app.callback()
def longshore(
    version: Annotated[bool, typer.Option("--version", is_eager=True, help="Print the version.")] = False,
) -> None:
    """Custom tasks: AWS-Lambda-style functions that process and report test results."""
    if version:
        print(__version__)
        raise typer.Exit


def main() -> None:
    """The entry point of the command `longshore`."""
    code = ended(sys.argv[1:])
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = code or 1
    sys.exit(code)


def ended(arguments: Sequence[str]) -> int:
    """Run one verb; its exit code. Every failure that is meant is one sentence on stderr."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        code = app(list(arguments), prog_name="longshore", standalone_mode=False)
    except TyperException as wrong:
        return _misused(wrong)
    except Stop as stop:
        output.say(stop.sentence)
        return stop.code
    except LongshoreError as error:
        output.say(error.message)
        return Stop.code
    except (Abort, KeyboardInterrupt):
        output.say("Interrupted.")
        return INTERRUPTED
    except OSError as error:
        output.say(f"{error.filename or 'longshore'}: {error.strerror or error}")
        return Stop.code
    return code if isinstance(code, int) else 0


def _misused(wrong: TyperException) -> int:
    """A usage error in a sentence, and where to read on; a group without a verb is answered with its help."""
    context = getattr(wrong, "ctx", None)
    verb = context.command_path if context else "longshore"
    output.say(wrong.format_message())
    if type(wrong).__name__ != "NoArgsIsHelpError":
        output.say(f"See: {verb} --help")
    return 2
