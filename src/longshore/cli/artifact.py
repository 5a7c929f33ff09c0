# SPDX-License-Identifier: Apache-2.0
"""`longshore artifact ...`: files in buckets."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from longshore.cli import options, output, task_fields, transfer
from longshore.cli.connection import connected
from longshore.cli.ending import Misused
from longshore.cli.output import Bytes, Moment, Sum

app = typer.Typer(help="Artifacts: files in buckets, also what runs left behind.", no_args_is_help=True)

BucketName = Annotated[str, typer.Argument(metavar="BUCKET", help="The bucket's name.")]
Key = Annotated[str, typer.Argument(metavar="KEY", help="The object's name in the bucket.")]


@app.command()
def put(
    bucket: BucketName,
    file: Annotated[Path, typer.Argument(metavar="FILE", exists=True, dir_okay=False)],
    key: Annotated[
        str | None, typer.Option("--key", metavar="K", help="Its name there; else the file's name.")
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Upload a file. A package put into bucket `tasks` updates the tasks that use its name."""
    with connected() as api:
        answer = transfer.sent(api, file, bucket, key or file.name)
    if as_json:
        output.document(answer)
        return
    artifact = answer["artifact"]
    task_fields.findings(answer.get("findings") or [])
    output.fields(
        [
            ("bucket", artifact["bucket"]),
            ("key", artifact["key"]),
            ("size", Bytes(artifact["size"])),
            ("sha256", artifact["digest"]),
            *(("updated task", name) for name in answer.get("updated_tasks") or ()),
        ]
    )


@app.command()
def get(
    bucket: BucketName,
    key: Key,
    out: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="F", help="The file to write; - for stdout.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    as_json: options.AsJson = False,
) -> None:
    """Download an object to a file, by default one of its name here."""
    is_to_stdout = str(out) == "-"
    if is_to_stdout and (as_json or sys.stdout.isatty()):
        raise Misused("-o - gives stdout to the object's bytes: without --json, and not on a terminal")
    last = key.rpartition("/")[2]
    target = Path(last) if out is None else out / last if out.is_dir() else out
    if last in ("", ".", ".."):
        raise Misused(f"{key!r} is not an object's key; it ends with a name")
    with connected() as api:
        if is_to_stdout:
            transfer.passed_on(api, bucket, key)
            return
        size, digest = transfer.fetched(api, bucket, key, target, replace=force)
    written = {"bucket": bucket, "key": key, "file": str(target), "size": size, "digest": digest}
    words = [("file", str(target)), ("size", Bytes(size)), ("sha256", digest)]
    output.document(written) if as_json else output.fields(words)


@app.command("list")
def list_(
    bucket: Annotated[str | None, typer.Argument(metavar="[BUCKET]", help="Else the buckets.")] = None,
    prefix: Annotated[str | None, typer.Option("--prefix", metavar="P", help="Keys that begin so.")] = None,
    limit: options.Limit = 100,
    as_json: options.AsJson = False,
) -> None:
    """Objects of a bucket by key; without a bucket, the buckets."""
    with connected() as api:
        if bucket is None:
            found = api.listed(api.place("buckets"), limit=limit)
        else:
            found = api.listed(api.place("buckets", bucket, "objects"), limit=limit, prefix=prefix)
    if as_json:
        output.document(found)
    elif bucket is None:
        rows = [(b["name"], b["objects"], Bytes(b["size"]), _moment(b["updated_at"])) for b in found["items"]]
        output.table(("bucket", "objects", "size", "updated"), rows)
    else:
        objects = [
            (o["key"], Bytes(o["size"]), _moment(o["updated_at"]), o["updated_by"], Sum(o["digest"]))
            for o in found["items"]
        ]
        output.table(("key", "size", "updated", "by", "sha256"), objects)


def _moment(at: str | None) -> Moment | None:
    return Moment(at) if at else None


@app.command()
def delete(bucket: BucketName, key: Key, as_json: options.AsJson = False) -> None:
    """Forget an object. A package that a task uses stays."""
    with connected() as api:
        api.delete(api.object(bucket, key))
    output.done({"bucket": bucket, "deleted": key}, f"{key} is deleted from {bucket}.", as_json=as_json)
