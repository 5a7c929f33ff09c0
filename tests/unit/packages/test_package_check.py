# SPDX-License-Identifier: Apache-2.0
"""Archives that must be refused, and the few oddities that must not."""

import gzip
import io
import resource
import struct
import subprocess
import sys
import tracemalloc
import zipfile
from pathlib import Path

import pytest

from longshore.adapters.archives.check import check
from longshore.domain.archive import MAX_ENTRIES, MAX_UNPACKED_BYTES, DirectorySize, PackageTooLarge
from longshore.domain.errors import BadPackage, TooLarge

from .zipping import Part, central, end, end64, files, kept, local, packed, zipped


def refusal(tmp_path: Path, content: bytes) -> BadPackage:
    with pytest.raises(BadPackage) as caught:
        check(kept(tmp_path / "p.zip", content), handler=None)
    return caught.value


def link(name: str, target: str) -> Part:
    return Part(name=name.encode(), content=target.encode(), mode=0o120777)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        (b"../../evil", "leads outside"),
        (b"a/../../evil", "leads outside"),
        (b"a/..", "leads outside"),
        (b"/etc/cron.d/x", "absolute"),
        (b"//host/x", "absolute"),
        (b"C:/windows/x", "drive letter"),
        (b"c:x", "drive letter"),
        (b"a\\b", "backslash"),
        (b"..\\..\\evil", "backslash"),
        (b"a\x00.py", "control character"),
        (b"a\nb", "control character"),
        (b"a\x7f", "control character"),
        ("a\u0085b".encode(), "control character"),
        (b"a//b", "empty or '.'"),
        (b"./a", "empty or '.'"),
        (b"a/.", "empty or '.'"),
        (b"", "empty or '.'"),
        (b"/", "empty or '.'"),
        (b"n" * 256, "longer than 255 bytes"),
        ("ж".encode() * 128, "longer than 255 bytes"),
        (b"/".join([b"n" * 100] * 11), "longer than 1024 bytes"),
        (b"/".join([b"d"] * 65), "65 levels deep"),
        (b"/".join([b"d"] * 2000), "longer than 1024 bytes"),
    ],
)
def test_a_name_that_is_no_place_below_the_root_is_refused(tmp_path: Path, name: bytes, says: str) -> None:
    refused = refusal(tmp_path, zipped(*files("a.py"), Part(name=name)))

    assert says in refused.message
    assert refused.entry is not None
    assert refused.field == "package"


def test_names_at_their_limits_pass(tmp_path: Path) -> None:
    parts = files(
        "n" * 255, "/".join(["d"] * 64), "/".join(["n" * 200] * 5), "жук/Ünïcode ✓.py", "a b", "..a", "C"
    )

    assert check(kept(tmp_path / "p.zip", zipped(*parts)), handler=None).entries == 7


def test_a_name_without_the_utf8_flag_is_read_as_macos_and_as_dos_write_it(tmp_path: Path) -> None:
    found = check(kept(tmp_path / "p.zip", zipped(*files("ü/a.py"), Part(name=b"\x81/b.py"))), handler=None)

    assert found.biggest == (DirectorySize(name="ü", unpacked_bytes=12),)


def test_a_name_that_lies_about_being_utf8_is_refused(tmp_path: Path) -> None:
    assert "not UTF-8" in refusal(tmp_path, zipped(Part(name=b"\xff.py", flags=0x800))).message


def test_a_name_twice_is_refused(tmp_path: Path) -> None:
    refused = refusal(tmp_path, zipped(*files("a.py", "b.py", "a.py")))

    assert refused.entry == "a.py"
    assert "twice" in refused.message


def test_names_that_differ_in_case_only_are_a_warning(tmp_path: Path) -> None:
    path = kept(tmp_path / "p.zip", zipped(*files("a/Readme.py", "a/readme.py", "Pkg/x.py", "pkg/y.py")))

    found = check(path, handler=None).findings

    assert [(one.level, one.code, one.entry) for one in found] == [
        ("warning", "case", "a/readme.py"),
        ("warning", "case", "pkg"),
    ]


@pytest.mark.parametrize("names", [("a", "a/"), ("a/", "a")])
def test_a_file_and_a_directory_of_one_name_are_refused(tmp_path: Path, names: tuple[str, ...]) -> None:
    parts = [Part(name=name.encode(), content=b"") for name in (*names, "main.py")]

    assert "both a" in refusal(tmp_path, zipped(*parts)).message


@pytest.mark.parametrize("names", [("a", "a/b.py"), ("a/b/c.py", "a")])
def test_a_file_below_a_file_is_refused(tmp_path: Path, names: tuple[str, ...]) -> None:
    assert "is a file in the same package" in refusal(tmp_path, zipped(*files(*names))).message


def test_a_file_below_a_link_is_refused(tmp_path: Path) -> None:
    refused = refusal(tmp_path, zipped(*files("d/x.py"), link("l", "d"), *files("l/y.py")))

    assert "is a link in the same package" in refused.message
    assert refused.entry == "l/y.py"


@pytest.mark.parametrize(
    "target",
    [
        "/etc/passwd",
        "../x",
        "d/../../x",
        "..",
        "C:\\x",
        "",
        "a\x00b",
        "a\nb",
        "x" * 2000,
        "up/..",
        "self",
        "ring1",
    ],
)
def test_a_link_that_leaves_the_package_or_never_ends_is_refused(tmp_path: Path, target: str) -> None:
    ring = [link("ring1", "ring2"), link("ring2", "ring1")]
    content = zipped(
        *files("d/x.py"), link("up", "d/.."), link("self", target), *(ring if target == "ring1" else [])
    )

    refused = refusal(tmp_path, content)

    assert "symbolic link" in refused.message


def test_links_that_climb_out_only_together_are_refused(tmp_path: Path) -> None:
    content = zipped(*files("a/b/c/x.py"), link("a/b/c/root", "../../.."), link("a/b/c/out", "root/.."))

    assert refusal(tmp_path, content).entry == "a/b/c/out"


def test_a_chain_of_links_that_doubles_at_each_step_is_refused_quickly(tmp_path: Path) -> None:
    chain = [link(f"l{n}", f"l{n + 1}/l{n + 1}/l{n + 1}") for n in range(100)]

    assert "circle" in refusal(tmp_path, zipped(*files("x.py"), *chain)).message


def test_relative_links_inside_pass(tmp_path: Path) -> None:
    links = [
        link("lib/so", "so.1"),
        link("lib/up", "../main.py"),
        link("here", "."),
        link("gone", "lib/nothing"),
    ]

    found = check(kept(tmp_path / "p.zip", zipped(*files("main.py", "lib/so.1"), *links)), handler=None)

    assert found.entries == 6


@pytest.mark.parametrize(
    ("part", "says"),
    [
        (Part(name=b"s.py", flags=1), "password"),
        (Part(name=b"s.py", flags=0x41), "password"),
        (Part(name=b"s.py", method=99), "password"),
        (Part(name=b"s.py", method=12), "method 12 (bzip2)"),
        (Part(name=b"s.py", method=77), "method 77 (unknown)"),
        (Part(name=b"s.py", crc=1), "damaged"),
        (Part(name=b"s.py", size=4), "unpacks to more than the 4 bytes"),
        (Part(name=b"s.py", size=9), "damaged"),
        (Part(name=b"s.py", local_name=b"t.py"), "differs"),
        (Part(name=b"s.py", header_at=3), "not where"),
        (Part(name=b"s.py", header_at=1 << 31), "not where"),
        (Part(name=b"s.py", size=0xFFFFFFFF), "64-bit sizes"),
        (Part(name=b"d/", content=b"data"), "directory 'd' has 4 bytes"),
    ],
)
def test_an_entry_that_is_not_what_it_seems_is_refused_by_name(tmp_path: Path, part: Part, says: str) -> None:
    refused = refusal(tmp_path, zipped(*files("main.py"), part))

    assert says in refused.message
    assert refused.entry == part.name.decode().rstrip("/")


def test_a_deflate_stream_that_ends_early_or_late_is_refused(tmp_path: Path) -> None:
    honest = packed(Part(name=b"a"))
    for body in (honest[:-1], honest + b"!", b"", b"\xff" * 9):
        part = Part(name=b"a")
        directory = central(part, body, 0)
        content = local(part, body) + directory
        content += end(1, len(directory), len(content) - len(directory))

        assert "damaged" in refusal(tmp_path, content).message


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "empty"),
        (b"hello", "not a zip"),
        (b"\x00" * 100_000, "not a zip"),
        (gzip.compress(b"x" * 100), "gzip"),
        (b"\x7fELF" + b"\x00" * 99, "Linux program"),
        (end(0, 0, 0), "empty zip"),
        (zipped(*files("a.py"))[:-1], "cut off"),
        (zipped(*files("a.py"))[:-30], "cut off"),
        (zipped(*files("a.py"))[10:], "cut off"),
        (zipped(*files("a.py")) + b"!", "bytes after it"),
        (b"#!/bin/sh\n" + zipped(*files("a.py")), "in front of"),
        (zipped(Part(name=b"d/", content=b"")), "no files"),
        (zipped(*files("a.py"), count=2), "size that its entries need"),
        (zipped(*files("a" * 60, "b"), count=3), "ends before"),
        (zipped(*files("a.py", "b.py"), count=1), "more than the 1 entries"),
        (end64(30_000, 0, 0), "30,000 entries"),
        (end(1, 46, 0xFFFFFFFF), "64-bit end record is missing"),
        (b"PK\x03\x04" + struct.pack("<4s4H2LH", b"PK\5\6", 1, 1, 1, 1, 46, 4, 0), "split zip"),
    ],
)
def test_a_file_that_is_no_plain_zip_is_refused(tmp_path: Path, content: bytes, says: str) -> None:
    assert says in refusal(tmp_path, content).message


def test_every_cut_of_a_zip_is_refused(tmp_path: Path) -> None:
    content = zipped(*files("a.py", "b/c.py"))
    for length in range(len(content)):
        refusal(tmp_path, content[:length])


def test_a_polyglot_whose_offsets_were_mended_is_refused_too(tmp_path: Path) -> None:
    script = io.BytesIO(b"#!/bin/sh\necho hello\n")
    script.seek(0, 2)
    with zipfile.ZipFile(script, "a") as archive:
        archive.writestr("a.py", "x = 1")

    assert "does not begin with a zip entry" in refusal(tmp_path, script.getvalue()).message


def test_a_zip_behind_an_entry_that_nobody_lists_is_refused(tmp_path: Path) -> None:
    hidden, shown = Part(name=b"hidden.py"), Part(name=b"a.py")
    front = local(hidden, packed(hidden))
    directory = central(shown, packed(shown), len(front))
    body = front + local(shown, packed(shown))

    assert (
        "in front of its first entry"
        in refusal(tmp_path, body + directory + end(1, len(directory), len(body))).message
    )


def test_two_end_records_are_refused(tmp_path: Path) -> None:
    first = zipped(*files("a.py"))
    inner = end(0, 0, 0)
    content = first[:-22] + first[-22:-2] + struct.pack("<H", len(inner)) + inner

    assert "two end records" in refusal(tmp_path, content).message


def test_a_comment_is_harmless(tmp_path: Path) -> None:
    content = zipped(*files("a.py"))
    content = content[:-2] + struct.pack("<H", 5) + b"hello"

    assert check(kept(tmp_path / "p.zip", content), handler=None).entries == 1


@pytest.mark.parametrize("second_at", [0, 10])
def test_entries_that_share_bytes_are_refused(tmp_path: Path, second_at: int) -> None:
    outer = Part(name=b"a.py", content=local(Part(name=b"b.py"), packed(Part(name=b"b.py"))), method=0)
    body = local(outer, packed(outer))
    inner = Part(name=b"b.py") if second_at else outer
    name = Part(name=b"b.py", local_name=b"a.py")
    at = 30 + 4 if second_at else 0
    second = central(inner if second_at else name, packed(inner), at)
    directory = central(outer, packed(outer), 0) + second
    refused = refusal(tmp_path, body + directory + end(2, len(directory), len(body)))

    assert "overlap" in refused.message or "differs" in refused.message


def test_a_bomb_is_refused_by_its_declared_size_with_the_limit_in_the_sentence(tmp_path: Path) -> None:
    path = tmp_path / "p.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("main.py", "x = 1")
        with archive.open("numpy/zeros.bin", "w") as out:
            for _ in range(251):
                out.write(bytes(1 << 20))
    assert path.stat().st_size < 300_000

    with pytest.raises(PackageTooLarge, match="262,144,000") as caught:
        check(path, handler=None)

    assert isinstance(caught.value, TooLarge)
    assert caught.value.entry == "numpy/zeros.bin"


def test_a_bomb_that_declares_little_is_stopped_at_what_it_declares(tmp_path: Path) -> None:
    path = kept(tmp_path / "p.zip", zipped(Part(name=b"a.bin", content=bytes(300 << 20), size=100, crc=0)))

    tracemalloc.start()
    with pytest.raises(BadPackage, match="more than the 100 bytes"):
        check(path, handler=None)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert path.stat().st_size < 400_000
    assert peak < 4 << 20


def test_two_hundred_megabytes_within_the_limit_are_read_in_little_memory(tmp_path: Path) -> None:
    path = kept(tmp_path / "p.zip", zipped(Part(name=b"data/a.bin", content=bytes(200 << 20))))

    tracemalloc.start()
    found = check(path, handler=None)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert found.unpacked_bytes == 200 << 20 < MAX_UNPACKED_BYTES
    assert peak < 4 << 20


def test_a_hundred_thousand_entries_are_refused_before_the_first_is_read(tmp_path: Path) -> None:
    one = central(Part(name=b"some/directory/and/name.py"), b"", 0) * 100_000
    path = kept(tmp_path / "p.zip", b"PK\3\4" + one + end64(100_000, len(one), 4))

    tracemalloc.start()
    with pytest.raises(BadPackage, match=f"100,000 entries; at most {MAX_ENTRIES:,}"):
        check(path, handler=None)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert path.stat().st_size > 7_000_000
    assert peak < 1 << 20


def test_few_entries_that_imply_a_million_directories_are_refused_in_little_memory(tmp_path: Path) -> None:
    deep = "/".join(["n" * 14] * 62)
    path = kept(tmp_path / "p.zip", zipped(*files(*(f"{n}/{deep}/x" for n in range(2000)))))

    tracemalloc.start()
    with pytest.raises(BadPackage, match="more than 20,000 directories"):
        check(path, handler=None)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert peak < 40 << 20


def test_an_end_record_that_hides_entries_does_not_get_them_in(tmp_path: Path) -> None:
    one = central(Part(name=b"name.py"), b"", 0) * 30_000
    content = b"PK\3\4" + one + end(5, len(one), 4)

    assert "more than the 5 entries" in refusal(tmp_path, content).message


def test_a_zip64_is_read_like_any_other(tmp_path: Path) -> None:
    part = Part(name=b"main.py")
    body = local(part, packed(part))
    directory = central(part, packed(part), 0)
    good = body + directory + end64(1, len(directory), len(body))

    assert check(kept(tmp_path / "p.zip", good), handler=None).entries == 1
    assert (
        "disagree"
        in refusal(tmp_path, good[:-12] + struct.pack("<HLLH", 7, 0xFFFFFFFF, 0xFFFFFFFF, 0)).message
    )
    assert "not where" in refusal(tmp_path, good[:-34] + struct.pack("<QL", 1 << 40, 1) + good[-22:]).message
    assert (
        "in front of"
        in refusal(
            tmp_path,
            b"MZ"
            + good.replace(
                struct.pack("<QL", len(body + directory), 1), struct.pack("<QL", len(body + directory) + 2, 1)
            ),
        ).message
    )


def test_what_zipfile_streams_without_knowing_sizes_is_read(tmp_path: Path) -> None:
    class Pipe(io.RawIOBase):
        def __init__(self) -> None:
            self.got = bytearray()

        def writable(self) -> bool:
            return True

        def write(self, piece: bytes) -> int:  # type: ignore[override]
            self.got += piece
            return len(piece)

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("main.py", "x = 1")
        with archive.open("big.bin", "w", force_zip64=True) as out:
            out.write(bytes(100_000))

    assert check(kept(tmp_path / "p.zip", bytes(pipe.got)), handler=None).unpacked_bytes == 100_005


def test_an_inspection_tells_size_modules_and_where_the_bytes_are(tmp_path: Path) -> None:
    sizes = {
        "pandas/a.py": 700,
        "numpy/core/b.so": 900,
        "main.py": 10,
        "native.cpython-311-x86_64-linux-gnu.so": 5,
    }
    sizes |= {"a/x": 4, "b/x": 3, "c/x": 2, "d/x.txt": 1, "data.csv": 8, "my-file.py": 1}
    parts = [Part(name=name.encode(), content=b"#" * size) for name, size in sizes.items()]

    found = check(kept(tmp_path / "p.zip", zipped(Part(name=b"empty/", content=b""), *parts)), handler=None)

    assert found.entries == 11
    assert found.unpacked_bytes == sum(sizes.values())
    assert found.python_modules == ("main", "native", "pandas")
    assert [(one.name, one.unpacked_bytes) for one in found.biggest] == [
        *(("numpy", 900), ("pandas", 700), (".", 24), ("a", 4), ("b", 3))
    ]


def test_a_jar_is_a_zip(tmp_path: Path) -> None:
    parts = files("META-INF/MANIFEST.MF", "com/acme/Handler.class")
    path = kept(tmp_path / "task.jar", zipped(Part(name=b"META-INF/", content=b""), *parts))

    assert check(path, handler="com.acme.Handler::handleRequest").findings == ()


def test_the_check_runs_on_the_standard_library_alone_and_starts_fast(tmp_path: Path) -> None:
    from longshore.adapters.archives import child

    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    for _ in range(5):
        path = kept(tmp_path / "p.zip", zipped(*files("main.py")))
        request = f'{{"path": "{path}", "handler": "main.x"}}'
        command = [sys.executable, "-I", "-S", child.__file__]
        done = subprocess.run(command, input=request, capture_output=True, text=True, env={}, check=True)
        assert '"entries": 1' in done.stdout
    after = resource.getrusage(resource.RUSAGE_CHILDREN)

    # 60 ms is the aim on an idle machine; the processor's own time is what a busy one can still measure.
    assert (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / 5 < 0.15
