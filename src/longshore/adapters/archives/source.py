# SPDX-License-Identifier: Apache-2.0
"""What one source file imports, and how surely.

at the top level, in a class                      eager: without it the module cannot be imported
in a function, a loop, `if`, `except`             it may never be reached
in `try ... except ImportError`, `suppress`,
`if TYPE_CHECKING`, `if sys.version_info ...`,
`if __name__ == "__main__"`                       the author's business: not told at all
"""

import ast
import re
import warnings
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

_CATCH = frozenset({"ImportError", "ModuleNotFoundError", "Exception", "BaseException"})
_OF_THE_MACHINE = frozenset(
    {"version_info", "hexversion", "python_version", "python_version_tuple", "implementation"}
    | {"python_implementation", "platform", "PY2", "PY3", "find_spec", "find_loader"}
)
_BENDS = re.compile(
    rb"\bpath\s*\.\s*(?:insert|append|extend)\s*\("
    rb"|\bsys\s*\.\s*(?:path|meta_path|path_hooks|modules)\s*(?:\[[^\]\n]{0,200}\]\s*)?\+?=(?!=)"
    rb"|\bsys\s*\.\s*(?:meta_path|path_hooks)\s*\.\s*(?:insert|append)"
    rb"|\bsys\s*\.\s*modules\s*\.\s*(?:update|setdefault)"
    rb"|from\s+sys\s+import[^\n]{0,200}\b(?:path|modules|meta_path)\b"
    rb"|\b(?:addsitedir|extend_path|__path__)\b"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Import:
    """One import as written: `module` is dotted, `level` the leading dots of a relative one, `names` those
    of `from ... import`."""

    module: str
    level: int
    line: int
    is_eager: bool
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """`bends` is as the function below has it, `error` why it cannot be read."""

    imports: tuple[Import, ...] = ()
    bends: bool = False
    error: SyntaxError | None = None


def understood(text: bytes) -> Source:
    """What a source says; one that breaks the parser says nothing."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(text)
    except SyntaxError as error:
        return Source(error=error)
    except (ValueError, RecursionError, MemoryError):
        return Source()
    return Source(imports=tuple(_imports(tree.body)), bends=bends(text))


def bends(text: bytes) -> bool:
    """Whether a source may change where Python looks for modules; comments count too, which costs little."""
    return bool(_BENDS.search(text))


def _imports(body: Iterable[ast.stmt]) -> Iterator[Import]:
    """Every import that nobody guards; those of the outer blocks first."""
    waiting = deque((statement, True) for statement in body)
    while waiting:
        statement, is_eager = waiting.popleft()
        yield from _of(statement, is_eager)
        waiting.extend((inner, is_eager and surely) for inner, surely in _inside(statement))


def _of(statement: ast.stmt, is_eager: bool) -> Iterator[Import]:
    match statement:
        case ast.Import(names=aliases):
            for alias in aliases:
                yield Import(module=alias.name, level=0, line=statement.lineno, is_eager=is_eager)
        case ast.ImportFrom(module=module, names=aliases, level=level):
            names = tuple(alias.name for alias in aliases if alias.name != "*")
            line = statement.lineno
            yield Import(module=module or "", level=level, line=line, is_eager=is_eager, names=names)


def _inside(statement: ast.stmt) -> Iterator[tuple[ast.stmt, bool]]:
    """The statements of the inner blocks that nobody guards, each with whether it runs when this one does."""
    match statement:
        case ast.If():
            yield from _of_if(statement)
        case ast.Try() | ast.TryStar():
            yield from _of_try(statement)
        case ast.With(items=items, body=body):
            yield from ((one, True) for one in body if not any(_suppresses(item) for item in items))
        case ast.ClassDef(body=body):
            yield from ((one, True) for one in body)
        case ast.Match(cases=cases):
            yield from ((one, False) for case in cases for one in case.body)
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.AsyncWith():
            yield from ((one, False) for one in statement.body)
        case ast.For() | ast.AsyncFor() | ast.While():
            yield from ((one, False) for one in (*statement.body, *statement.orelse))


def _of_if(statement: ast.If) -> Iterator[tuple[ast.stmt, bool]]:
    test, words = statement.test, _words(statement.test)
    if isinstance(test, ast.Constant):
        yield from ((one, True) for one in (statement.body if test.value else statement.orelse))
    elif "TYPE_CHECKING" in words:
        is_plain = isinstance(test, ast.Name | ast.Attribute)
        yield from ((one, True) for one in statement.orelse if is_plain)
    elif "__name__" in words:
        yield from ((one, False) for one in statement.orelse)
    elif not words & _OF_THE_MACHINE and not {"os", "name"} <= words:
        yield from ((one, False) for one in (*statement.body, *statement.orelse))


def _of_try(statement: ast.Try | ast.TryStar) -> Iterator[tuple[ast.stmt, bool]]:
    if not any(_catches(one) for one in statement.handlers):
        yield from ((one, True) for one in (*statement.body, *statement.orelse))
        yield from ((one, False) for handler in statement.handlers for one in handler.body)
    yield from ((one, True) for one in statement.finalbody)


def _catches(handler: ast.ExceptHandler) -> bool:
    return handler.type is None or bool(_words(handler.type) & _CATCH)


def _suppresses(item: ast.withitem) -> bool:
    call = item.context_expr
    return isinstance(call, ast.Call) and "suppress" in _words(call.func) and bool(_words(call) & _CATCH)


def _words(expression: ast.expr) -> set[str]:
    """The names and attributes in an expression."""
    nodes = list(ast.walk(expression))
    names = {node.id for node in nodes if isinstance(node, ast.Name)}
    return names | {node.attr for node in nodes if isinstance(node, ast.Attribute)}
