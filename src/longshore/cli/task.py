# SPDX-License-Identifier: Apache-2.0
"""`longshore task ...`"""

from typing import TYPE_CHECKING, Annotated

import typer

from longshore.cli import options, output, parsing, task_fields, transfer
from longshore.cli.connection import connected
from longshore.cli.ending import Misused, Refused
from longshore.cli.output import Moment, Sum
from longshore.domain.parameters import type_json

if TYPE_CHECKING:
    from longshore.cli.client import Api, Document

app = typer.Typer(help="Tasks: create, run, change, roll back.", no_args_is_help=True)


@app.command()
def create(
    name: options.TaskName,
    package: options.Package,
    handler: options.Handler,
    runtime: options.Runtime,
    description: options.Description = None,
    cpus: options.Cpus = None,
    memory: options.Memory = None,
    timeout: options.Timeout = None,
    disk: options.Disk = None,
    parameter: options.Parameters = None,
    parameters_from: options.ParametersFrom = None,
    env: options.Environment = None,
    location: options.Location = None,
    success: options.Success = None,
    on_lost: options.WhenLost = None,
    reuse: options.Reused = None,
    network: options.Network = None,
    allow: options.Allow = None,
    as_json: options.AsJson = False,
) -> None:
    """Upload a package to bucket `tasks` and make a task that runs it."""
    draft = task_fields.present(
        {
            "name": name,
            "runtime": runtime,
            "handler": handler,
            "description": description,
            "limits": task_fields.limits(cpus=cpus, memory=memory, timeout=timeout, disk=disk) or None,
            "parameters": parsing.parameters(parameter, parameters_from) or None,
            "environment": parsing.pairs(env, "--env") or None,
            "location": location,
            "success": success,
            "on_lost": on_lost,
            "reuse": reuse,
            "network": network,
            "allow": list(allow or ()) or None,
        }
    )
    with connected() as api:
        _refuse_if_there(api, name)
        with transfer.package_in_place(api, package, user=name) as key:
            answer = api.post(api.place("tasks"), {**draft, "package": key})
    task_fields.saved(answer, as_json=as_json)


def _refuse_if_there(api: "Api", name: str) -> None:
    try:
        api.get(api.place("tasks", name))
    except Refused as refused:
        if refused.status == 404:
            return
        raise
    raise Refused(f"the task {name} is there already; change it with: longshore task update {name}")


@app.command()
def update(
    name: options.TaskName,
    package: options.NewPackage = None,
    handler: options.NewHandler = None,
    runtime: options.NewRuntime = None,
    rename: Annotated[str | None, typer.Option("--rename", metavar="NEW", help="A new name.")] = None,
    description: options.Description = None,
    cpus: options.Cpus = None,
    memory: options.Memory = None,
    timeout: options.Timeout = None,
    disk: options.Disk = None,
    parameter: options.Parameters = None,
    parameters_from: options.ParametersFrom = None,
    without_parameter: Annotated[
        list[str] | None, typer.Option(metavar="P", help="A parameter to take away. Repeatable.")
    ] = None,
    env: options.Environment = None,
    without_env: Annotated[
        list[str] | None, typer.Option(metavar="K", help="A variable to take away. Repeatable.")
    ] = None,
    location: options.Location = None,
    success: options.Success = None,
    on_lost: options.WhenLost = None,
    reuse: options.Reused = None,
    network: options.Network = None,
    allow: options.Allow = None,
    without_allow: Annotated[
        list[str] | None, typer.Option(metavar="HOST:PORT", help="An address to take away. Repeatable.")
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Change what is given and leave the rest. Parameters and variables are changed one by one."""
    changes = task_fields.present(
        {
            "name": rename,
            "runtime": runtime,
            "handler": handler,
            "description": description,
            "location": location,
            "success": success,
            "on_lost": on_lost,
            "reuse": reuse,
            "network": network,
        }
    )
    limits = task_fields.limits(cpus=cpus, memory=memory, timeout=timeout, disk=disk)
    parameters = parsing.parameters(parameter, parameters_from)
    variables = parsing.pairs(env, "--env")
    with connected() as api:
        now = api.get(api.place("tasks", name))
        if limits:
            changes["limits"] = {**now["limits"], **limits}
        if parameters or without_parameter:
            changes["parameters"] = parsing.merged(now["parameters"], parameters, without_parameter or ())
        if variables or without_env:
            kept = {**now["environment"], **variables}
            changes["environment"] = {k: v for k, v in kept.items() if k not in (without_env or ())}
        if allow or without_allow:
            pairs = dict.fromkeys([*now["allow"], *(allow or ())])
            changes["allow"] = [pair for pair in pairs if pair not in (without_allow or ())]
        if not (changes or package):
            raise Misused("nothing to change was given; see longshore task update --help")
        task_fields.saved(_changed(api, now, changes, package), as_json=as_json)


def _changed(
    api: "Api", now: "Document", changes: dict[str, type_json], package: options.NewPackage
) -> "Document":
    name, place = str(now["name"]), api.place("tasks", now["name"])
    if package is None:
        return api.patch(place, changes)
    with transfer.package_in_place(api, package, user=name) as key:
        return api.patch(place, {**changes, "package": key})


@app.command("list")
def list_(limit: options.Limit = 100, as_json: options.AsJson = False) -> None:
    """The project's tasks by name, each with how its last run stands."""
    with connected() as api:
        found = api.listed(api.place("tasks"), limit=limit)
    if as_json:
        output.document(found)
        return
    rows = [
        (
            task["name"],
            task["runtime"],
            task["package_name"],
            task["revision"],
            Moment(task["updated_at"]),
            (task.get("last_run") or {}).get("state"),
        )
        for task in found["items"]
    ]
    output.table(("name", "runtime", "package", "revision", "updated", "last run"), rows)


@app.command()
def show(name: options.TaskName, as_json: options.AsJson = False) -> None:
    """A task as it is now."""
    with connected() as api:
        task = api.get(api.place("tasks", name))
    output.document(task) if as_json else task_fields.sheet(task)


@app.command()
def delete(name: options.TaskName, as_json: options.AsJson = False) -> None:
    """Forget a task. Its runs stay in the history, its package in bucket `tasks`."""
    with connected() as api:
        api.delete(api.place("tasks", name))
    output.done({"deleted": name}, f"The task {name} is deleted.", as_json=as_json)


@app.command()
def rollback(
    name: options.TaskName,
    to: Annotated[
        int | None, typer.Option("--to", min=1, metavar="REV", help="The revision to take the task from.")
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Take the package before this one; with --to the whole task as it was at that revision."""
    with connected() as api:
        answer = api.post(api.place("tasks", name, "rollback"), {} if to is None else {"to": to})
    task_fields.saved(answer, as_json=as_json)


@app.command()
def revisions(name: options.TaskName, limit: options.Limit = 100, as_json: options.AsJson = False) -> None:
    """What a task was, newest first: when, by whom, why, with which package."""
    with connected() as api:
        found = api.listed(api.place("tasks", name, "revisions"), limit=limit)
    if as_json:
        output.document(found)
        return
    rows = [
        (one["revision"], Moment(one["at"]), one["by"], one["why"], one["package_name"], Sum(one["package"]))
        for one in found["items"]
    ]
    output.table(("revision", "at", "by", "why", "package", "sha256"), rows)
