# SPDX-License-Identifier: Apache-2.0
"""Libraries for another Python, platform or C library; and what makes a package large."""

import os
import random
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from longshore.adapters.archives.check import check
from longshore.adapters.archives.handler import Sources
from longshore.adapters.archives.sizes import too_much
from longshore.adapters.archives.wheels import here, import_names, wrong_wheels
from longshore.domain.archive import MAX_ENTRIES, MAX_SAME_FINDINGS, Entry, Finding
from longshore.domain.wheel_tags import MAX_TAGS, Tag, Target, fits, tag_of_file, tags_of, this_libc
from longshore.interceptor.abi import mismatch

from .zipping import Part, kept, zipped

PY311 = Target(python=(3, 11), machine="x86_64", libc="glibc")
MB = 1024 * 1024


def wheel(*tags: str) -> str:
    return "Wheel-Version: 1.0\nGenerator: x\n" + "".join(f"Tag: {tag}\n" for tag in tags)


def installed(
    name: str,
    tag: str,
    *,
    native: str | None = "_core.so",
    record: bool = True,
    more: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """A library as an installer lays it down."""
    files = {f"{name}/__init__.py": "", **(more or {})}
    if native:
        files[f"{name}/{native}"] = ""
    listed = "".join(f"{file},sha256=x,1\n" for file in files)
    files[f"{name}-1.2.dist-info/WHEEL"] = wheel(tag)
    if record:
        files[f"{name}-1.2.dist-info/RECORD"] = f"{listed}{name}-1.2.dist-info/RECORD,,\n../../bin/tool,,\n"
    return files


def sources(contents: Mapping[str, str]) -> Sources:
    return Sources(contents.keys(), lambda name: contents[name].encode("latin-1"))


def wrong(contents: Mapping[str, str], target: Target = PY311) -> list[Finding]:
    return wrong_wheels(sources(contents), target)


def laid(root: Path, contents: Mapping[str, str]) -> Path:
    for name, content in contents.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content.encode("latin-1"))
    return root


@pytest.mark.parametrize(
    "tag",
    [
        "py3-none-any",
        "py2.py3-none-any",
        "py38-none-any",
        "cp311-cp311-linux_x86_64",
        "cp311-cp311-manylinux1_x86_64",
        "cp311-cp311-manylinux2014_x86_64",
        "cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64",
        "cp310.cp311-cp310.cp311-manylinux_2_28_x86_64",
        "cp37-abi3-manylinux_2_28_x86_64",
        "cp311-abi3-manylinux_2_34_x86_64",
        "cp39-none-manylinux2014_x86_64",
        "py3-none-manylinux2014_x86_64",
        "CP311-CP311-Linux_x86_64",
        "cp311-cp311-linux_x86_64-more",
        "nonsense",
        "zz9-zz9-plural_z_alpha",
        "",
    ],
)
def test_a_wheel_for_this_place_or_one_that_is_not_understood_gives_no_finding(tag: str) -> None:
    assert wrong(installed("numpy", tag)) == []


@pytest.mark.parametrize(
    ("tag", "built_for"),
    [
        ("cp37-cp37m-manylinux2014_x86_64", "CPython 3.7 on Linux x86_64 (glibc)"),
        ("cp312-cp312-manylinux_2_17_x86_64", "CPython 3.12 on Linux x86_64 (glibc)"),
        ("cp312-abi3-manylinux_2_17_x86_64", "CPython 3.12 and newer on Linux x86_64 (glibc)"),
        ("cp311-cp311t-manylinux_2_17_x86_64", "free-threaded CPython 3.11 on Linux x86_64 (glibc)"),
        ("pp39-pypy39_pp73-manylinux_2_17_x86_64", "PyPy on Linux x86_64 (glibc)"),
        ("cp27-cp27mu-manylinux1_x86_64", "Python 2 on Linux x86_64 (glibc)"),
        ("cp311-cp311-manylinux_2_17_aarch64", "CPython 3.11 on Linux aarch64 (glibc)"),
        ("cp311-cp311-manylinux_2_17_i686", "CPython 3.11 on Linux i686 (glibc)"),
        ("cp311-cp311-musllinux_1_1_x86_64", "CPython 3.11 on Linux x86_64 (musl)"),
        ("cp311-cp311-macosx_11_0_arm64", "CPython 3.11 on macOS aarch64"),
        ("cp311-cp311-macosx_10_9_universal2", "CPython 3.11 on macOS universal2"),
        ("cp311-cp311-win_amd64", "CPython 3.11 on Windows x86_64"),
        ("cp311-cp311-win32", "CPython 3.11 on Windows"),
        ("py3-none-macosx_11_0_arm64", "macOS aarch64"),
    ],
)
def test_a_wheel_for_another_place_is_an_error_that_names_both(tag: str, built_for: str) -> None:
    [finding] = wrong(installed("numpy", tag))

    assert (finding.level, finding.code) == ("error", "wheel")
    assert finding.entry == "numpy-1.2.dist-info/WHEEL"
    there = "the task runs on Python 3.11 on Linux x86_64 (glibc)"
    assert finding.message.startswith(f"numpy 1.2 is built for {built_for}, and {there}; build the package")


def test_the_finding_says_the_command_that_mends_it() -> None:
    [other_python] = wrong(installed("numpy", "cp37-cp37m-manylinux1_x86_64"))
    [other_machine] = wrong(installed("numpy", "cp311-cp311-macosx_11_0_arm64"))
    musl = Target(python=None, machine="arm64", libc="musl")
    [other_libc] = wrong(installed("numpy", "cp311-cp311-manylinux_2_17_aarch64"), musl)

    assert other_python.message.endswith("again: longshore package build DIR -o F.zip --python 3.11.")
    assert other_machine.message.endswith("F.zip --python 3.11 --platform x86_64-unknown-linux-gnu.")
    assert other_libc.message.endswith("build DIR -o F.zip --platform aarch64-unknown-linux-musl.")


def test_without_a_known_python_only_the_machine_is_judged() -> None:
    anyone = Target(python=None, machine="x86_64", libc="glibc")

    assert wrong(installed("numpy", "cp37-cp37m-manylinux1_x86_64"), anyone) == []
    [finding] = wrong(installed("numpy", "cp37-cp37m-win_amd64"), anyone)
    assert "and tasks run on Linux x86_64 (glibc)" in finding.message


def test_a_library_that_is_pure_in_spite_of_its_tag_gives_no_finding() -> None:
    assert wrong(installed("some", "cp37-cp37m-linux_x86_64", native=None)) == []


@pytest.mark.parametrize(
    "native", ["md.cpython-37m-x86_64-linux-gnu.so", "md__mypyc.cpython-37m-x86_64-linux-gnu.so"]
)
def test_a_compiled_module_beside_its_source_is_not_missed(native: str) -> None:
    files = installed("some", "cp37-cp37m-manylinux1_x86_64", native=native, more={"some/md.py": ""})

    assert wrong(files) == []


def test_a_library_that_works_without_its_compiled_part_is_a_warning() -> None:
    files = {
        **installed("PyYAML", "cp37-cp37m-manylinux1_x86_64"),
        **installed("numpy", "cp37-cp37m-manylinux1_x86_64"),
    }

    found = wrong(files)

    assert [(one.level, one.message.split()[0]) for one in found] == [
        ("error", "numpy"),
        ("warning", "PyYAML"),
    ]
    assert found[1].message.endswith("It may work without its compiled part.")


def test_a_tool_without_compiled_modules_for_another_platform_is_a_warning() -> None:
    files = installed("ruff", "py3-none-macosx_11_0_arm64", native=None)

    assert [one.level for one in wrong(files)] == ["warning"]


def test_libraries_in_another_folder_are_judged_too() -> None:
    files = installed("numpy", "cp37-cp37m-manylinux1_x86_64")
    [finding] = wrong({f"vendor/{name}": content for name, content in files.items()})

    assert finding.entry == "vendor/numpy-1.2.dist-info/WHEEL"


def test_a_library_without_a_list_of_files_is_known_by_its_name() -> None:
    guessed = installed("numpy", "cp37-cp37m-manylinux1_x86_64", record=False)
    renamed = {name.replace("numpy/", "np/"): content for name, content in guessed.items()}

    assert [one.level for one in wrong(guessed)] == ["error"]
    assert [one.level for one in wrong(renamed)] == ["error"]
    pure = installed("numpy", "cp37-cp37m-manylinux1_x86_64", native=None, record=False)
    assert wrong(pure) == []


@pytest.mark.parametrize(
    ("name", "built_for"),
    [
        ("_x.cpython-37m-x86_64-linux-gnu.so", "CPython 3.7 on Linux x86_64"),
        ("_x.cpython-312-x86_64-linux-gnu.so", "CPython 3.12 on Linux x86_64"),
        ("_x.cpython-313t-x86_64-linux-gnu.so", "free-threaded CPython 3.13 on Linux x86_64"),
        ("_x.cpython-311-aarch64-linux-gnu.so", "CPython 3.11 on Linux aarch64"),
        ("_x.cpython-311-i386-linux-gnu.so", "CPython 3.11 on Linux i686"),
        ("_x.cpython-311-x86_64-linux-musl.so", "CPython 3.11 on Linux x86_64 (musl)"),
        ("_x.cpython-311-darwin.so", "CPython 3.11 on macOS"),
        ("_x.cp311-win_amd64.pyd", "CPython 3.11 on Windows x86_64"),
        ("_x.pyd", "Windows"),
        ("_x.pypy39-pp73-x86_64-linux-gnu.so", "PyPy"),
    ],
)
def test_a_compiled_module_that_nobody_vouches_for_is_judged_by_its_name(name: str, built_for: str) -> None:
    [finding] = wrong({"psycopg2/__init__.py": "", f"psycopg2/{name}": "", f"psycopg2/more{name}": ""})

    assert (finding.level, finding.entry) == ("error", f"psycopg2/{name}")
    assert finding.message.startswith(f"psycopg2/{name} is built for {built_for}, and the task runs on")


@pytest.mark.parametrize(
    "name",
    [
        "_x.cpython-311-x86_64-linux-gnu.so",
        "_x.abi3.so",
        "_x.so",
        "_x.cpython-311.so",
        "libx.so.1.2.3",
        "libx-5f3a.so",
        "x.cpython-37m-x86_64-linux-gnu.so.txt",
    ],
)
def test_a_compiled_module_that_fits_or_does_not_say_gives_no_finding(name: str) -> None:
    assert wrong({"main.py": "", f"native/{name}": ""}) == []


def test_a_module_that_is_there_for_several_pythons_gives_no_finding() -> None:
    both = {f"native/_x.cpython-{tag}-x86_64-linux-gnu.so": "" for tag in ("37m", "311")}
    stable = {"native/_x.cpython-37m-x86_64-linux-gnu.so": "", "native/_x.abi3.so": ""}

    assert wrong(both) == []
    assert wrong(stable) == []


def test_import_names_are_those_of_installers_and_of_nobody_else() -> None:
    files = {
        "main.py": "",
        "helpers/__init__.py": "",
        **installed("numpy", "py3-none-any"),
        "six.py": "",
        "six-1.0.dist-info/WHEEL": wheel("py3-none-any"),
        "six-1.0.dist-info/RECORD": '"six.py",sha256=x,1\nsix-1.0.dist-info/RECORD,,\n',
        "yaml/__init__.py": "",
        "PyYAML-6.0.dist-info/WHEEL": wheel("py3-none-any"),
        "PyYAML-6.0.dist-info/top_level.txt": "_yaml\nyaml\n",
        "bs4/__init__.py": "",
        "beautifulsoup4-4.0.dist-info/WHEEL": wheel("py3-none-any"),
        "old/__init__.py": "",
        "old.egg-info/top_level.txt": "old\n",
    }

    assert import_names(sources(files)) == {"numpy", "six", "yaml", "_yaml", "bs4", "old"}


def test_a_library_whose_names_nobody_knows_may_own_them_all() -> None:
    files = {"main.py": "", "strange.py": "", "other-1.0.dist-info/WHEEL": wheel("py3-none-any")}

    assert {"main", "strange"} <= import_names(sources(files))


@pytest.mark.parametrize("name", ["WHEEL", "RECORD", "top_level.txt"])
@pytest.mark.parametrize(
    "content",
    [
        bytes(range(256)) * 40,
        b"Tag: " + b"a." * 30_000 + b"-" + b"b." * 30_000 + b"-" + b"c." * 30_000,
        b"Tag: a-b-c\n" * 100_000,
        b"x" * 3 * MB,
        b"/" * 200_000,
        b"\n" * 1_000_000,
        b"",
    ],
    ids=["binary", "product", "repeated", "huge", "deep", "empty lines", "empty"],
)
def test_hostile_files_of_an_installer_cost_nothing(tmp_path: Path, name: str, content: bytes) -> None:
    files = {one: text.encode() for one, text in installed("numpy", "cp37-cp37m-manylinux1_x86_64").items()}
    files |= {f"numpy-1.2.dist-info/{name}": content, "main.py": b"import numpy, os\ndef f(e, c): ...\n"}
    parts = [Part(name=one.encode(), content=data) for one, data in files.items()]
    started = time.process_time()

    found = check(kept(tmp_path / "p.zip", zipped(*parts)), handler="main.f", python=(3, 11))

    unpacked = laid(tmp_path / "d", {one: data.decode("latin-1") for one, data in files.items()})
    said = mismatch(unpacked, (3, 11), "x86_64")

    assert time.process_time() - started < 5
    assert {one.code for one in found.findings} <= {"wheel"}
    assert said is None or said.startswith("numpy 1.2 is built for CPython 3.7")


def test_thousands_of_libraries_and_records_take_seconds(tmp_path: Path) -> None:
    names = [
        f"d{n}/lib{n}-1.dist-info/{file}" for n in range(MAX_ENTRIES // 2) for file in ("WHEEL", "RECORD")
    ]
    record = "".join(f"lib/{n}.so,,\n" for n in range(10_000))
    contents = {
        name: record if name.endswith("RECORD") else wheel("cp37-cp37m-linux_x86_64") for name in names
    }
    started = time.process_time()

    found = wrong(contents)
    names_found = import_names(sources(contents))

    assert time.process_time() - started < 10
    assert len(found) <= MAX_SAME_FINDINGS
    assert names_found == frozenset()


@given(st.binary(max_size=400))
def test_whatever_a_wheel_file_has_its_tags_are_few_and_judged(content: bytes) -> None:
    found = tags_of(b"Tag: " + content)

    assert len(found) <= MAX_TAGS
    for tag in found:
        fits(tag, PY311)
        assert isinstance(tag.words, str)


@given(st.text(alphabet="cpython-37m.so_x86_64linuxgnuabi3pydwin/", max_size=60))
def test_whatever_a_file_is_called_it_is_judged(name: str) -> None:
    tag = tag_of_file(name)

    assert tag is None or isinstance(tag, Tag)
    wrong({name or "x": ""})


def test_an_unpacked_package_is_judged_as_its_archive_is(tmp_path: Path) -> None:
    machine, libc = os.uname().machine, "manylinux_2_17" if this_libc() == "glibc" else "musllinux_1_1"
    bad = laid(tmp_path / "bad", installed("numpy", f"cp37-cp37m-{libc}_{machine}"))
    soft = laid(tmp_path / "soft", installed("PyYAML", f"cp37-cp37m-{libc}_{machine}"))
    good = laid(tmp_path / "good", installed("numpy", f"cp311-cp311-{libc}_{machine}"))

    said = mismatch(bad, (3, 11), machine)

    assert said is not None
    assert said.startswith("numpy 1.2 is built for CPython 3.7 on Linux")
    assert "--python 3.11" in said
    assert mismatch(bad, (3, 7), machine) is None
    assert mismatch(soft, (3, 11), machine) is None
    assert mismatch(good, (3, 11), machine) is None
    assert mismatch(tmp_path / "nothing", (3, 11), machine) is None


def test_what_stands_where_an_installers_file_should_be_is_not_opened(tmp_path: Path) -> None:
    info = tmp_path / "numpy-1.2.dist-info"
    info.mkdir()
    os.mkfifo(info / "WHEEL")
    (tmp_path / "other-1.dist-info").mkdir()
    (tmp_path / "other-1.dist-info" / "WHEEL").symlink_to("/dev/zero")
    (tmp_path / "third-1.dist-info" / "WHEEL").mkdir(parents=True)

    assert mismatch(tmp_path, (3, 11), "x86_64") is None


def test_an_environment_of_this_machine_fits_it() -> None:
    root = Path(hypothesis.__file__).parents[1]
    names = {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}

    found = wrong_wheels(Sources(names, lambda name: (root / name).read_bytes()), here(sys.version_info[:2]))

    assert found == []


def test_a_small_package_has_no_word_on_its_size() -> None:
    assert too_much([Entry(name="a.bin", size=50 * MB)]) == []


def test_a_large_package_names_what_makes_it_large_and_what_could_go() -> None:
    entries = [
        Entry(name="pandas/core.so", size=30 * MB),
        Entry(name="pandas/tests/frame/test_x.py", size=MB),
        Entry(name="pandas/tests/data/big.csv", size=9 * MB),
        Entry(name="django/test/client.py", size=MB),
        Entry(name="botocore/docs/service.py", size=MB),
        Entry(name="botocore/data/s3.json", size=14 * MB),
        Entry(name="plotly/docs/index.html", size=2 * MB),
        Entry(name="a/__pycache__/x.pyc", size=MB),
        Entry(name="b/__pycache__/x.pyc", size=MB),
        Entry(name="data.csv", size=MB),
    ]

    [finding] = too_much(entries)

    assert (finding.level, finding.code) == ("warning", "size")
    assert finding.message == (
        "the package unpacks to 61 MB, which a first start on a machine waits for; most is in"
        " 'pandas' (40 MB), 'botocore' (15 MB), 'plotly' (2 MB); could be left out: 'pandas/tests' (10 MB),"
        " 'plotly/docs' (2 MB), '__pycache__' (2 MB); the runtime has its own botocore"
    )


def test_twenty_thousand_files_are_weighed_in_a_moment() -> None:
    entries = [
        Entry(name=f"{'d/' * 40}tests/t{n}.py", size=random.randint(1, 9) * 1000) for n in range(20_000)
    ]
    started = time.process_time()

    too_much(entries)

    assert time.process_time() - started < 3
