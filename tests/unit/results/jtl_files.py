# SPDX-License-Identifier: Apache-2.0
"""Result files for tests: where the real ones are, and how to write others."""

import re
from collections.abc import Iterable
from pathlib import Path

from longshore.results.sources import sources
from longshore.results.summary import Summary, Wanted, summarize

FILES = Path(__file__).parents[2] / "data" / "jtl"
ORACLE, EDGE = FILES / "oracle", FILES / "edge"
HEADER = (
    "timeStamp,elapsed,label,responseCode,responseMessage,threadName,dataType,success,failureMessage,bytes,"
    "sentBytes,grpThreads,allThreads,URL,Latency,IdleTime,Connect"
)


def line(
    at: int, elapsed: int, label: str = "Home", *, ok: bool = True, message: str = "OK", thread: str = "T 1-1"
) -> str:
    """One row as JMeter 5 writes it."""
    success = "true" if ok else "false"
    return f'{at},{elapsed},{label},200,"{message}",{thread},text,{success},,1024,512,1,1,null,1,0,0'


def csv(lines: Iterable[str], *, header: str | None = HEADER) -> str:
    """A whole file."""
    return "".join(f"{one}\n" for one in ([header, *lines] if header else lines))


def put(directory: Path, content: str | bytes, name: str = "x.jtl") -> Path:
    """A file with this content."""
    path = directory / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def read(*paths: Path, wanted: Wanted | None = None) -> Summary:
    """The numbers of files."""
    return summarize(sources(paths), wanted or Wanted())


def codes(summary: Summary) -> list[str]:
    """What was found, without the remark that all tests' files are short."""
    return [one.code for one in summary.findings if one.code != "few-samples"]


def said(summary: Summary) -> str:
    """All findings as text."""
    return re.sub(r"\s+", " ", " | ".join(map(str, summary.findings)))
