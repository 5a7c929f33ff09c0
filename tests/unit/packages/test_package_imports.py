# SPDX-License-Identifier: Apache-2.0
"""The look at imports: what is missing is told with its line, what Python may know better is not."""

import importlib.metadata
import re
import sys
import time
from collections.abc import Collection, Mapping

import pytest

from longshore.adapters.archives.handler import Sources
from longshore.adapters.archives.imports import MAX_LACKS, unresolved
from longshore.adapters.archives.source import bends
from longshore.adapters.archives.stdlib import PROVIDED, is_standard
from longshore.domain.archive import MAX_SAME_FINDINGS, Finding

Version = tuple[int, int] | None


def lacking(
    main: str,
    others: Mapping[str, str] | None = None,
    *,
    python: Version = (3, 11),
    libraries: Collection[str] = (),
    handler: str = "main.handler",
) -> list[Finding]:
    contents = {"main.py": main, **(others or {})}
    sources = Sources(contents.keys(), lambda name: contents[name].encode())
    return unresolved(handler, sources, version=python, libraries=libraries)


def the(main: str, others: Mapping[str, str] | None = None, **more: object) -> Finding:
    [finding] = lacking(main, others, **more)  # type: ignore[arg-type]
    return finding


def test_an_import_that_nothing_answers_is_an_error_with_its_line_and_the_way_out() -> None:
    finding = the("import os\nimport requests.auth\n")

    assert (finding.level, finding.code, finding.entry) == ("error", "import", "main.py")
    assert finding.message == (
        "main.py, line 2, imports requests, which is neither in the package nor in the runtime nor in the"
        " standard library of Python 3.11; add requests to requirements.txt and build the package again"
    )


def test_a_library_that_is_called_otherwise_is_named_as_its_index_has_it() -> None:
    assert "add PyYAML to requirements.txt" in the("from yaml import safe_load").message


@pytest.mark.parametrize(
    "source",
    [
        "import json, os.path, sys, __future__, _thread, __main__",
        "from xml.etree import ElementTree\nfrom concurrent.futures import *",
        "import boto3\nfrom botocore.exceptions import ClientError\nfrom six.moves import urllib",
        "import helpers\nfrom helpers import anything",
        "import pkg.mod\nfrom pkg import mod, whatever\nfrom pkg.mod import thing\nimport pkg.native.more",
        "import spread.part\nfrom spread import part, deep\nfrom spread.deep import leaf",
        "import compiled\nimport older\nimport tagged.inside",
        "import data",
        "def handler(e, c):\n    import helpers",
        "importlib.import_module('nowhere')\n__import__('nowhere')",
    ],
)
def test_what_is_there_gives_no_finding(source: str) -> None:
    others = {
        "helpers.py": "",
        "pkg/__init__.py": "",
        "pkg/mod.py": "from . import mod\nfrom .mod import x\n",
        "pkg/native.cpython-311-x86_64-linux-gnu.so": "",
        "spread/part.py": "from .deep import leaf\nfrom . import part\n",
        "spread/deep/leaf.py": "from ..part import x\nfrom .. import part\n",
        "compiled.so": "",
        "older.pyc": "",
        "tagged.cpython-311-x86_64-linux-gnu.so": "",
        "data/table.csv": "",
    }

    assert lacking(source, others) == []


@pytest.mark.parametrize(
    "source",
    [
        "try:\n    import nowhere\nexcept ImportError:\n    import nowhere_else",
        "try:\n    import nowhere\nexcept (KeyError, ModuleNotFoundError):\n    pass\nelse:\n    import more",
        "try:\n    import nowhere\nexcept:\n    pass",
        "try:\n    import nowhere\nexcept builtins.ImportError:\n    pass",
        "try:\n    import nowhere\nexcept* ImportError:\n    pass",
        "import contextlib\nwith contextlib.suppress(ImportError):\n    import nowhere",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import nowhere",
        "import typing as t\nif t.TYPE_CHECKING:\n    from nowhere import x\nelse:\n    x = None",
        "import typing as t\nif not t.TYPE_CHECKING:\n    pass\nelse:\n    import nowhere",
        "import sys\nif sys.version_info >= (3, 11):\n    import tomllib\nelse:\n    import tomli",
        "import sys\nif sys.platform == 'win32':\n    import winreg",
        "import os\nif os.name == 'nt':\n    import msvcrt",
        "import platform\nif platform.python_implementation() == 'PyPy':\n    import nowhere",
        "from importlib.util import find_spec\nif find_spec('nowhere'):\n    import nowhere",
        "if __name__ == '__main__':\n    import nowhere",
        "if False:\n    import nowhere",
        "if 0:\n    import nowhere\nelse:\n    import os",
        "class C:\n    try:\n        import nowhere\n    except Exception:\n        pass",
    ],
)
def test_a_guarded_import_is_its_authors_business(source: str) -> None:
    assert lacking(source) == []


@pytest.mark.parametrize(
    ("source", "level"),
    [
        ("try:\n    import nowhere\nfinally:\n    pass", "error"),
        ("try:\n    import nowhere\nexcept KeyError:\n    pass", "error"),
        ("try:\n    import nowhere\nexcept ImportError:\n    pass\nfinally:\n    import gone", "error"),
        ("class C:\n    import nowhere", "error"),
        ("with open('x'):\n    import nowhere", "error"),
        ("if True:\n    import nowhere", "error"),
        ("if TYPE_CHECKING:\n    pass\nelse:\n    import nowhere", "error"),
        ("def handler(e, c):\n    import nowhere", "warning"),
        ("async def f():\n    async with x:\n        import nowhere", "warning"),
        ("class C:\n    def f(self):\n        from nowhere import x", "warning"),
        ("if os.environ.get('DEBUG'):\n    import nowhere", "warning"),
        ("for x in y:\n    import nowhere", "warning"),
        ("match x:\n    case 1:\n        import nowhere", "warning"),
        ("try:\n    pass\nexcept KeyError:\n    import nowhere", "warning"),
    ],
)
def test_an_import_that_may_never_be_reached_is_a_warning(source: str, level: str) -> None:
    assert the(source).level == level


def test_what_lacks_in_two_places_is_told_once_where_it_is_sure() -> None:
    later = {"helpers.py": "import nowhere\n"}

    finding = the("def f():\n    import nowhere\nimport helpers\n", later)

    assert (finding.level, finding.entry) == ("error", "helpers.py")


def test_the_authors_own_modules_are_followed_and_a_librarys_are_not() -> None:
    others = {
        "helpers.py": "import pkg.sub\n",
        "pkg/__init__.py": "import first\n",
        "pkg/sub.py": "from . import side\n",
        "pkg/side.py": "import second\n",
        "lib/__init__.py": "import third\n",
        "unused.py": "import fourth\n",
    }

    found = lacking("import helpers, lib", others, libraries={"lib"})

    assert [finding.entry for finding in found] == ["pkg/__init__.py", "pkg/side.py"]


def test_what_only_a_function_imports_warns_of_all_that_it_lacks() -> None:
    finding = the("def handler(e, c):\n    import helpers", {"helpers.py": "import nowhere"})

    assert finding.level == "warning"


def test_a_handler_that_was_itself_installed_is_the_authors_own() -> None:
    finding = the("", {"task/main.py": "import nowhere"}, handler="task/main.handler", libraries={"task"})

    assert finding.entry == "task/main.py"


def test_the_packages_above_a_handler_are_run_too() -> None:
    others = {"task/__init__.py": "import nowhere", "task/main.py": ""}

    assert the("", others, handler="task.main.handler").entry == "task/__init__.py"


@pytest.mark.parametrize(
    ("source", "lacks"),
    [
        ("import pkg.gone", "pkg.gone"),
        ("from pkg.gone import x", "pkg.gone"),
        ("import helpers.gone", "helpers.gone"),
        ("from space import gone", "space.gone"),
        ("import space.gone.more", "space.gone"),
        ("import google.cloud.storage", "google.cloud"),
    ],
)
def test_a_module_that_a_package_does_not_have_is_told(source: str, lacks: str) -> None:
    others = {"pkg/__init__.py": "", "helpers.py": "", "space/part.py": "", "google/protobuf/__init__.py": ""}

    finding = the(source, others, libraries={"google"})

    assert f"imports {lacks}, and the package has no such module" in finding.message


@pytest.mark.parametrize(
    ("place", "source", "says"),
    [
        ("pkg/mod.py", "from .gone import x", "imports pkg.gone, and"),
        ("pkg/mod.py", "from ..gone import x", "imports ..gone, which leads above the top level"),
        ("pkg/sub/mod.py", "from ..gone import x", "imports pkg.gone, and"),
        ("space/mod.py", "from . import gone", "imports space.gone, and"),
    ],
)
def test_a_relative_import_is_followed_from_where_it_stands(place: str, source: str, says: str) -> None:
    others = {"pkg/__init__.py": "", "pkg/sub/__init__.py": "", place: source}

    module = place.removesuffix(".py").replace("/", ".")

    assert says in the("", others, handler=f"{module}.handler").message


def test_a_file_at_the_top_knows_no_relative_imports() -> None:
    finding = the("from .helpers import x\nfrom .helpers import y\n", {"helpers.py": ""})

    assert "main.py, line 1, imports .helpers, which leads above the top level" in finding.message
    assert "(import helpers)" in finding.message


def test_a_module_that_lies_in_another_folder_is_pointed_at() -> None:
    finding = the("import helpers", {"src/helpers.py": ""})

    assert finding.level == "error"
    assert "imports helpers, which Python does not find: the package has it as 'src/helpers.py'" in (
        finding.message
    )
    others = {"task/main.py": "import helpers", "task/helpers.py": "", "task/__init__.py": ""}
    assert "'task/helpers.py'" in the("", others, handler="task.main.handler").message


def test_a_module_of_that_name_inside_a_package_is_no_hint() -> None:
    others = {"compat/__init__.py": "", "compat/numpy.py": ""}

    assert "add numpy to requirements.txt" in the("import numpy", others).message


@pytest.mark.parametrize(
    "trick",
    [
        "import sys\nsys.path.append('/var/task/vendor')",
        "import sys\nsys.path.insert(0, 'vendor')",
        "import sys\nsys.path += ['vendor']",
        "import sys\nsys.path[0:0] = ['vendor']",
        "from sys import path\npath.extend(['vendor'])",
        "import site\nsite.addsitedir('vendor')",
        "import sys\nsys.modules['nowhere'] = object()",
        "import sys\nsys.meta_path.insert(0, object())",
        "from pkgutil import extend_path\n__path__ = extend_path(__path__, __name__)",
    ],
)
def test_where_the_search_path_is_bent_nothing_is_sure(trick: str) -> None:
    others = {"vendor/lib.py": "", "setup_path.py": trick}

    found = lacking("import nowhere, lib\nimport setup_path\n", others)

    assert [(finding.level, "nowhere" in finding.message) for finding in found] == [("warning", True)]


def test_a_bend_in_a_module_behind_a_guard_counts_and_one_in_a_library_does_not() -> None:
    guarded = "try:\n    import paths\nexcept ImportError:\n    pass\nimport nowhere\n"
    others = {"paths.py": "import sys\nsys.path.append('vendor')\n"}

    assert the(guarded, others).level == "warning"
    assert the(guarded, others, libraries={"paths"}).level == "error"


def test_a_pth_file_bends_the_search_path_unless_it_is_a_known_harmless_one() -> None:
    assert the("import nowhere", {"vendor.pth": "vendor"}).level == "warning"
    assert the("import nowhere", {"distutils-precedence.pth": "", "x-nspkg.pth": ""}).level == "error"


def test_reading_the_search_path_bends_nothing() -> None:
    assert the("import sys, nowhere\nprint(sys.path, sys.modules[__name__])\n").level == "error"


@pytest.mark.parametrize(
    ("source", "python", "says"),
    [
        ("import distutils.util", (3, 12), "distutils, which Python 3.12 does not have any more"),
        ("from imp import reload", (3, 12), "imp, which Python 3.12 does not have any more"),
        ("import cgi", (3, 13), "cgi, which Python 3.13 does not have any more"),
        ("import binhex", (3, 11), "binhex, which Python 3.11 does not have any more"),
        ("from collections import Mapping", (3, 10), "collections.Mapping, which Python 3.10 does not"),
        ("import tomllib", (3, 10), "tomllib, which Python 3.10 does not have yet"),
        ("from zoneinfo import ZoneInfo", (3, 8), "zoneinfo, which Python 3.8 does not have yet"),
        ("from importlib import metadata", (3, 7), "importlib.metadata, which Python 3.7 does not have yet"),
        ("import winreg", (3, 11), "winreg, which only Python on Windows has"),
    ],
)
def test_the_standard_library_is_that_of_the_runtime(source: str, python: tuple[int, int], says: str) -> None:
    assert f"imports {says}" in the(source, python=python).message


@pytest.mark.parametrize(
    ("source", "python"),
    [
        ("import distutils.util, cgi, imp, asyncore", (3, 11)),
        ("import cgi, telnetlib", (3, 12)),
        ("import binhex, formatter\nfrom collections import Mapping", (3, 9)),
        ("import tomllib", (3, 11)),
        ("import annotationlib, compression.zstd", (3, 14)),
        ("import distutils, tomllib, cgi, annotationlib\nfrom collections import Mapping", None),
    ],
)
def test_what_the_runtimes_version_has_gives_no_finding(source: str, python: Version) -> None:
    assert lacking(source, python=python) == []


def test_a_backport_in_the_package_stands_in() -> None:
    assert lacking("import tomllib, cgi", {"tomllib.py": "", "cgi/__init__.py": ""}, python=(3, 13)) == []
    assert lacking("import distutils", {"distutils.py": ""}, python=(3, 7)) == []
    assert "tomllib" in the("import tomllib", python=(3, 7)).message


def test_a_folder_does_not_hide_the_standard_library() -> None:
    others = {"email/template.html": "", "json/x.json": ""}

    assert lacking("from email import message\nimport email.mime.text, json.decoder", others) == []


def test_every_standard_module_of_this_python_is_known() -> None:
    ours = sys.version_info[:2]
    on_windows = {"msvcrt", "nt", "winreg", "winsound"}

    assert [name for name in sys.stdlib_module_names - on_windows if not is_standard(name, ours)] == []


def test_what_the_runtimes_bring_is_what_their_clients_require() -> None:
    waiting, names = ["awslambdaric", "boto3"], set[str]()
    while waiting:
        name = waiting.pop()
        names.add(name)
        needed = [text for text in importlib.metadata.requires(name) or [] if "extra" not in text]
        waiting += [re.split(r"[^\w.-]", text)[0] for text in needed]
    tops = {"python-dateutil": "dateutil", "snapshot-restore-py": "snapshot_restore_py"}

    assert {tops.get(name, name) for name in names} <= PROVIDED


def test_a_module_that_cannot_be_read_is_told_unless_its_python_is_newer() -> None:
    others = {"helpers.py": "x = 1\ndef f(:\n"}

    finding = the("import helpers", others, python=sys.version_info[:2])

    assert (finding.level, finding.entry) == ("error", "helpers.py")
    assert finding.message.startswith("helpers.py, line 2: ")
    assert lacking("import helpers", others, python=(3, 99)) == []
    assert lacking("import helpers", others, python=None) == []


@pytest.mark.parametrize(
    "source",
    ["x = 1\0", "# coding: nonsense\n", "x = " + "-" * 100_000 + "1", "x = " + "(" * 5000, "\xff\xfe"],
)
def test_source_that_breaks_the_parser_says_nothing(source: str) -> None:
    assert lacking(source) == []


def test_circles_and_a_missing_handler_end() -> None:
    assert lacking("import a", {"a.py": "import b", "b.py": "import a, main"}) == []
    assert lacking("", handler="gone.handler") == []
    assert lacking("", handler="handler") == []


def test_there_is_an_end_to_what_is_told_and_to_what_it_costs() -> None:
    names = {f"d{n % 100}/m{n}.py": "" for n in range(20_000)}
    hostile = "\n".join(f"import gone{n}" for n in range(60_000))
    started = time.process_time()

    found = lacking(hostile, names)

    assert len(found) == MAX_SAME_FINDINGS < MAX_LACKS
    assert time.process_time() - started < 10


@pytest.mark.parametrize(
    "word", ["sys.path[", "from sys import ", "path . insert", "sys .", "from ", "sys\t"]
)
def test_a_file_of_nothing_but_almost_tricks_costs_little(word: str) -> None:
    started = time.process_time()

    bends((word * (1024 * 1024 // len(word))).encode())

    assert time.process_time() - started < 5


def test_twenty_thousand_modules_that_import_each_other_take_seconds() -> None:
    others = {
        f"m{n}.py": "\n".join(f"import m{(n * 7 + k) % 20_000}" for k in range(50)) for n in range(20_000)
    }
    started = time.process_time()

    assert lacking("import m0", others) == []
    assert time.process_time() - started < 10
