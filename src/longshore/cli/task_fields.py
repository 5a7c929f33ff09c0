# SPDX-License-Identifier: Apache-2.0
"""The fields of a task from the options of `task create` and `task update`, and a task shown."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from longshore.cli import output
from longshore.cli.output import Moment
from longshore.domain.parameters import type_json

if TYPE_CHECKING:
    from longshore.cli.client import Document


def limits(
    *, cpus: float | None, memory: int | None, timeout: float | None, disk: int | None
) -> dict[str, float]:
    """The limits that were given, by the API's names."""
    return present({"cpus": cpus, "memory_mb": memory, "timeout_s": timeout, "disk_mb": disk})


def present(fields: Mapping[str, type_json]) -> dict[str, type_json]:
    """The fields that were given; an empty text is one."""
    return {name: value for name, value in fields.items() if value is not None}


def saved(answer: "Document", *, as_json: bool) -> None:
    """A task that was saved, with all that its author should know."""
    if as_json:
        output.document(answer)
        return
    task = answer["task"]
    for warning in answer["warnings"]:
        output.say(f"warning: {warning}")
    findings(answer["findings"])
    output.fields(
        [
            ("task", task["name"]),
            ("revision", task["revision"]),
            ("package", task["package_name"]),
            ("sha256", task["package"]),
        ]
    )


def findings(found: "list[Document]") -> None:
    """What a look into a package has found, beside the answer."""
    for finding in found:
        entry = finding.get("entry")
        where = f" [{entry}]" if entry and entry not in finding["message"] else ""
        output.say(f"{finding['level']}: {finding['message']}{where}")


def sheet(task: "Document") -> None:
    """A task, one side a line."""
    limit = task["limits"]
    output.fields(
        [
            ("name", task["name"]),
            ("description", task.get("description")),
            ("runtime", task["runtime"]),
            ("handler", task["handler"]),
            ("package", task["package_name"]),
            ("sha256", task["package"]),
            ("revision", task["revision"]),
            ("updated", Moment(task["updated_at"])),
            ("by", task["updated_by"]),
            ("cpus", f"{limit['cpus']:g}"),
            ("memory_mb", limit["memory_mb"]),
            ("disk_mb", limit["disk_mb"]),
            ("timeout_s", f"{limit['timeout_s']:g}"),
            ("location", task["location"]),
            ("success", task["success"]),
            ("on_lost", task["on_lost"]),
            ("reuse", task["reuse"]),
            ("network", task["network"]),
            *(("allow", pair) for pair in task["allow"]),
            *(("parameter", declaration(one)) for one in task["parameters"]),
            *(("env", f"{name}={value}") for name, value in task["environment"].items()),
        ]
    )


def declaration(parameter: "Document") -> str:
    """A parameter as `--parameter` would declare it, and its unit."""
    choices = f"({'|'.join(parameter['choices'])})" if parameter.get("choices") else ""
    kind = parameter.get("type", "string")
    default = parameter.get("default")
    unit = f" [{parameter['unit']}]" if parameter.get("unit") else ""
    return "".join(
        (
            parameter["name"],
            f":{kind}{choices}" if kind != "string" else "",
            "!" if parameter.get("required") else "",
            "" if default is None else f"={default}",
            unit,
        )
    )
