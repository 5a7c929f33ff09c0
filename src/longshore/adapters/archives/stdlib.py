# SPDX-License-Identifier: Apache-2.0
"""What a runtime has by itself: the standard library of its version, and what the runtimes bring."""

import sys

PROVIDED = frozenset(
    {"awslambdaric", "boto3", "botocore", "dateutil", "jmespath", "s3transfer", "simplejson", "six"}
    | {"snapshot_restore_py", "urllib3"}
)
"""What the Python runtimes bring along, beside the standard library."""

_COLLECTIONS = frozenset(
    {"ByteString", "Callable", "Collection", "Container", "Generator", "Hashable", "ItemsView", "Iterable"}
    | {"Iterator", "KeysView", "Mapping", "MappingView", "MutableMapping", "MutableSequence", "MutableSet"}
    | {"Reversible", "Sequence", "Set", "Sized", "ValuesView"}
)
_LEFT: dict[str, tuple[int, int]] = {
    "macpath": (3, 8),
    "dummy_threading": (3, 9),
    **dict.fromkeys(("formatter", "parser", "symbol"), (3, 10)),
    **dict.fromkeys((f"collections.{name}" for name in _COLLECTIONS), (3, 10)),
    "binhex": (3, 11),
    **dict.fromkeys(("asynchat", "asyncore", "distutils", "imp", "smtpd"), (3, 12)),
    **dict.fromkeys(("aifc", "audioop", "cgi", "cgitb", "chunk", "crypt", "imghdr", "lib2to3"), (3, 13)),
    **dict.fromkeys(("mailcap", "msilib", "nis", "nntplib", "ossaudiodev", "pipes", "sndhdr"), (3, 13)),
    **dict.fromkeys(("spwd", "sunau", "telnetlib", "uu", "xdrlib"), (3, 13)),
}
"""What left the standard library, with the version that no longer had it (PEP 594, PEP 632, what's new)."""
_CAME: dict[str, tuple[int, int]] = {
    "importlib.metadata": (3, 8),
    "multiprocessing.shared_memory": (3, 8),
    "graphlib": (3, 9),
    "zoneinfo": (3, 9),
    "importlib.resources.abc": (3, 11),
    "tomllib": (3, 11),
    "wsgiref.types": (3, 11),
    **dict.fromkeys(
        ("annotationlib", "compression", "concurrent.interpreters", "string.templatelib"), (3, 14)
    ),
}
_OF_WINDOWS = frozenset({"msvcrt", "nt", "winreg", "winsound"})
OWN = sys.version_info[:2]


def is_standard(top: str, version: tuple[int, int] | None) -> bool:
    """Whether the standard library of a version (None: of any) has a module. Private ones are not told apart:
    they come and go with every version."""
    if top.startswith("_"):
        return True
    if why_not(top, version):
        return False
    return top in sys.stdlib_module_names or top in _LEFT or top in _CAME


def why_not(dotted: str, version: tuple[int, int] | None) -> str | None:
    """The end of a sentence that begins with "imports": why this version does not have a module or name that
    others have."""
    if dotted in _OF_WINDOWS:
        return f"{dotted}, which only Python on Windows has"
    if version is None:
        return None
    python = f"Python {version[0]}.{version[1]}"
    if version >= _LEFT.get(dotted, (9, 9)):
        return f"{dotted}, which {python} does not have any more: use what replaces it, or an older runtime"
    if version < _CAME.get(dotted, (0, 0)):
        return f"{dotted}, which {python} does not have yet: use a newer runtime, or its backport"
    return None


def reads_syntax_of(version: tuple[int, int] | None) -> bool:
    """Whether a syntax error found here is one for that version too: ours is as new, or newer."""
    return version is not None and version <= OWN
