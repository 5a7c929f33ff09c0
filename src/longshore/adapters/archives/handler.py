# SPDX-License-Identifier: Apache-2.0
"""Does a package have its Python handler? Answered by reading the source; nothing is imported.

`a.b` is function b of a.py; `pkg/mod.fn` and `pkg.mod.fn` are fn of pkg/mod.py, as the runtime client has it.
What Python could still find at run time (compiled modules, star imports, a module's own __getattr__) gives no
finding: a false alarm would teach people to ignore the true ones.
"""

import ast
import sys
import warnings
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

from longshore.adapters.archives.modules import Modules
from longshore.adapters.archives.stdlib import reads_syntax_of
from longshore.domain.archive import Finding, Level, shown

MAX_SOURCE_BYTES = 2 * 1024 * 1024
MAX_SOURCES_TRIED = 40
_USUAL = ("lambda_handler", "handler", "main")


@dataclass(frozen=True, slots=True)
class Sources:
    """The files of a package: all names, and the bytes of one (None when it is too big to look at)."""

    names: Collection[str]
    read: Callable[[str], bytes | None]


@dataclass(frozen=True, slots=True)
class _Module:
    """What a module's top level defines. `is_open`: it can have more names than can be seen."""

    names: dict[str, ast.stmt]
    is_open: bool


def look(handler: str, sources: Sources, *, python: tuple[int, int] | None = None) -> list[Finding]:
    """What is wrong with a Python handler in this package, as far as reading can tell; mostly nothing.

    `python` is the version that will run it; syntax that is newer than ours is not judged.
    """
    module, dot, function = handler.strip().rpartition(".")
    parts = module.replace("/", ".").split(".")
    if not dot or not function or "" in parts:
        return [_shape(handler)]
    if parts[0] in sys.builtin_module_names:
        return [
            _error(
                "handler_module", f"{parts[0]} is a module inside Python itself; name the handler's file else"
            )
        ]
    place = Modules.of(sources.names).find(parts)
    if place is None:
        return [] if _is_elsewhere(parts[0], sources.names) else [_missing(module, function, sources)]
    if not place.endswith(".py"):
        return []
    found = _look_inside(place, module, function, sources)
    is_judged = python is None or reads_syntax_of(python)
    return [one for one in found if is_judged or one.code != "handler_syntax"]


def _error(code: str, message: str, entry: str | None = None) -> Finding:
    return Finding(level=Level.ERROR, code=code, message=message, entry=entry)


def _shape(handler: str) -> Finding:
    return _error(
        "handler_shape",
        f"{shown(handler)} is not a handler: it takes file.function, such as lambda_function.lambda_handler",
    )


def _is_elsewhere(top: str, names: Collection[str]) -> bool:
    """The standard library, which a package may use as a handler unless it has the same name itself."""
    return top in sys.stdlib_module_names and not any(
        name.split("/")[0].split(".")[0] == top for name in names
    )


def _missing(module: str, function: str, sources: Sources) -> Finding:
    path = module.replace(".", "/")
    wrapped = [name for name in sources.names if name.endswith(f"/{path}.py")]
    if len(wrapped) == 1 and path:
        folder = wrapped[0].removesuffix(f"/{path}.py")
        return _error(
            "handler_module",
            f"the package has no file {path}.py at its top level, but it has {wrapped[0]}: zip what is inside"
            f" the folder {folder}, not the folder, or use the handler {folder}/{module}.{function}",
            wrapped[0],
        )
    return _error(
        "handler_module", f"the package has no file {path}.py{_instead(function, sources)}", f"{path}.py"
    )


def _instead(function: str, sources: Sources) -> str:
    files = sorted(name for name in sources.names if name.endswith(".py") and "/" not in name)
    if not files:
        return "; it has no Python file at its top level"
    for wanted in dict.fromkeys((function, *_USUAL)):
        for name in files[:MAX_SOURCES_TRIED]:
            module = _understood(sources.read(name))
            if isinstance(module, _Module) and wanted in module.names:
                return f"; it has {name}, did you mean the handler {name.removesuffix('.py')}.{wanted}?"
    more = "" if len(files) <= 3 else f" and {len(files) - 3} more"
    return f"; at its top level it has {', '.join(files[:3])}{more}"


def _look_inside(place: str, module: str, function: str, sources: Sources) -> list[Finding]:
    content = _understood(sources.read(place))
    if content is None:
        return []
    if isinstance(content, SyntaxError):
        line = f", line {content.lineno}" if content.lineno else ""
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        return [
            _error("handler_syntax", f"{place}{line}: {content.msg} (as Python {version} reads it)", place)
        ]
    if function in content.names:
        return _calling(content.names[function], place, function)
    return [] if content.is_open else [_no_function(place, module, function, content)]


def _no_function(place: str, module: str, function: str, content: _Module) -> Finding:
    defined = [name for name, node in content.names.items() if isinstance(node, ast.FunctionDef)]
    public = sorted(
        (name for name in defined if not name.startswith("_")), key=lambda name: name not in _USUAL
    )
    if not public:
        return _error(
            "handler_function", f"{place} has no {function} and no other function at its top level", place
        )
    instead = f"it has {', '.join(public[:5])}; did you mean the handler {module}.{public[0]}?"
    return _error("handler_function", f"{place} has no function {function}; {instead}", place)


def _calling(node: ast.stmt, place: str, function: str) -> list[Finding]:
    if isinstance(node, ast.AsyncFunctionDef):
        words = (
            f"{function} in {place} is an async function, which the runtime does not await; use a plain one"
        )
        return [_error("handler_async", words, place)]
    if not isinstance(node, ast.FunctionDef) or node.decorator_list:
        return []
    takes = len(node.args.posonlyargs) + len(node.args.args)
    if takes - len(node.args.defaults) <= 2 and (takes >= 2 or node.args.vararg):
        return []
    words = (
        f"{function} in {place} cannot be called with the two arguments (event, context) that a handler gets"
    )
    return [Finding(level=Level.WARNING, code="handler_arguments", message=words, entry=place)]


def _understood(source: bytes | None) -> _Module | SyntaxError | None:
    """A module's top level, the reason why it is not Python, or None for one that cannot be judged."""
    if source is None:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(source)
    except SyntaxError as error:
        return error
    except ValueError:
        return SyntaxError("the source has NUL bytes")
    except (RecursionError, MemoryError):
        return None
    names: dict[str, ast.stmt] = {}
    for statement in _statements(tree.body):
        names.update(dict.fromkeys(_names_of(statement), statement))
    return _Module(names, bool({"*", "__getattr__"} & names.keys()) or b"globals()" in source)


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements that run at import, those inside if, try, with and loops too."""
    for statement in body:
        yield statement
        if not isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            for block in _blocks(statement):
                yield from _statements(block)


def _blocks(statement: ast.stmt) -> Iterator[list[ast.stmt]]:
    for member in ("body", "orelse", "finalbody"):
        yield getattr(statement, member, [])
    for member in ("handlers", "cases"):
        for part in getattr(statement, member, []):
            yield part.body


def _names_of(statement: ast.stmt) -> Iterator[str]:
    match statement:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            yield name
        case ast.Import(names=aliases):
            yield from (alias.asname or alias.name.split(".")[0] for alias in aliases)
        case ast.ImportFrom(names=aliases):
            yield from (alias.asname or alias.name for alias in aliases)
        case ast.AnnAssign(value=None):
            return
        case ast.Assign() | ast.AnnAssign() | ast.For() | ast.With():
            for node in (
                ast.walk(statement)
                if isinstance(statement, ast.Assign | ast.AnnAssign)
                else _heads(statement)
            ):
                if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                    yield node.id


def _heads(statement: ast.For | ast.With) -> Iterator[ast.AST]:
    if isinstance(statement, ast.For):
        yield from ast.walk(statement.target)
    else:
        for item in statement.items:
            yield from ast.walk(item)
