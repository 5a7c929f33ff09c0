# SPDX-License-Identifier: Apache-2.0
"""`longshore package ...`: zips, made and looked at on this machine; no server is needed."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from longshore.cli import options, output, task_fields
from longshore.cli.output import Bytes
from longshore.domain.archive import Level, PackageTooLarge
from longshore.domain.errors import BadPackage

if TYPE_CHECKING:
    from longshore.cli.client import Document
    from longshore.domain.archive import Inspection

app = typer.Typer(help="Packages: build one from a directory, look into one.", no_args_is_help=True)


@app.command()
def build(
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="The directory with the handler and requirements.txt.")
    ],
    out: Annotated[Path, typer.Option("-o", "--output", metavar="F.zip", help="The zip to write.")],
    python: Annotated[
        str | None, typer.Option("--python", metavar="V", help="For this version, such as 3.12; else ours.")
    ] = None,
    platform: Annotated[
        str | None, typer.Option("--platform", metavar="P", help="For this platform, as uv names it.")
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Make a package of a directory and the libraries of its requirements.txt: the same bytes every time."""
    from longshore.cli.build import build as make

    output.say(f"Building {out} ...")
    built = make(directory, out, python=python, platform=platform)
    biggest = [{"name": one.name, "unpacked_bytes": one.unpacked_bytes} for one in built.biggest]
    if as_json:
        output.document(
            {"file": str(built.path), "digest": built.sha256, "size": built.size, "biggest": biggest}
        )
        return
    output.fields([("file", str(built.path)), ("size", Bytes(built.size)), ("sha256", built.sha256)])


@app.command()
def check(
    file: Annotated[Path, typer.Argument(metavar="F.zip", exists=True, dir_okay=False)],
    handler: options.NewHandler = None,
    runtime: options.NewRuntime = None,
    as_json: options.AsJson = False,
) -> int:
    """Look into a package as the server would; exit 1 when it would refuse it or the handler cannot work."""
    from longshore.compose import open_archives
    from longshore.domain.runtime import runtime as named
    from longshore.services.packages import looked_for

    wanted = looked_for(handler, runtime)
    python = named(runtime).version if runtime else None
    try:
        answer = _of(file, asyncio.run(open_archives().inspect(file, handler=wanted, python=python)))
    except BadPackage as error:
        code = "too_large" if isinstance(error, PackageTooLarge) else "refused"
        refusal = {"level": "error", "code": code, "message": error.message, "entry": error.entry}
        answer = {"ok": False, "size": file.stat().st_size, "findings": [refusal]}
    _show(answer, as_json=as_json)
    return 0 if answer["ok"] else 1


def _of(file: Path, inspection: "Inspection") -> "Document":
    return {
        "ok": all(finding.level is not Level.ERROR for finding in inspection.findings),
        "size": file.stat().st_size,
        "entries": inspection.entries,
        "unpacked_bytes": inspection.unpacked_bytes,
        "findings": [
            {"level": one.level.value, "code": one.code, "message": one.message, "entry": one.entry}
            for one in inspection.findings
        ],
        "biggest": [{"name": one.name, "unpacked_bytes": one.unpacked_bytes} for one in inspection.biggest],
        "python_modules": list(inspection.python_modules),
    }


def _show(answer: "Document", *, as_json: bool) -> None:
    if as_json:
        output.document(answer)
        return
    task_fields.findings(answer["findings"])
    levels = [finding["level"] for finding in answer["findings"]]
    output.fields(
        [
            ("package", "ok" if answer["ok"] else "error"),
            ("errors", levels.count(Level.ERROR) or None),
            ("warnings", levels.count(Level.WARNING) or None),
            ("size", Bytes(answer["size"])),
            ("entries", answer.get("entries")),
            ("unpacked", Bytes(answer["unpacked_bytes"]) if "unpacked_bytes" in answer else None),
            *(
                (f"in {one['name']}", Bytes(one["unpacked_bytes"]))
                for one in answer.get("biggest", ())
                if one["name"] != "."
            ),
        ]
    )
