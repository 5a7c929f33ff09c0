# SPDX-License-Identifier: Apache-2.0
"""The files of a package as `import` sees them, indexed once: a package may have 20,000."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from longshore.domain.archive import parents


@dataclass(frozen=True, slots=True)
class Modules:
    """`files` by their path without suffixes; all `directories`, also those that are only implied; `deep`:
    the sources below a directory, by the name that would import them if they lay at the top."""

    files: Mapping[str, Sequence[str]]
    directories: Collection[str]
    deep: Mapping[str, str]

    @classmethod
    def of(cls, names: Iterable[str]) -> "Modules":
        """The index of these file names."""
        files: dict[str, list[str]] = defaultdict(list)
        directories: set[str] = set()
        deep: dict[str, str] = {}
        for name in sorted(names):
            directory, slash, file = name.rpartition("/")
            files[directory + slash + file.split(".")[0]].append(name)
            if directory not in directories:
                directories.update(parents(name))
            if name.endswith("/__init__.py") and directory.count("/"):
                deep.setdefault(directory.rpartition("/")[2], name)
            elif directory and file.endswith(".py"):
                deep.setdefault(file.removesuffix(".py"), name)
        return cls(files, directories, deep)

    def find(self, parts: Sequence[str]) -> str | None:
        """The file that `import` would take for a dotted module, or None."""
        for depth in range(1, len(parts) + 1):
            base = "/".join(parts[:depth])
            if depth == len(parts):
                return self.at(base)
            if self._file(base) and not self._file(f"{base}/__init__"):
                return None
        return None

    def is_outside(self, name: str) -> bool:
        """Whether a module lies in a directory that is no package itself, such as `src` or `vendor`."""
        base = name.removesuffix("/__init__.py").removesuffix(".py")
        return self._file(f"{base.rpartition('/')[0]}/__init__") is None

    def at(self, base: str) -> str | None:
        """What a path without suffixes stands for: a directory's `__init__` first, then a file."""
        return self._file(f"{base}/__init__") or self._file(base)

    def _file(self, base: str) -> str | None:
        """The compiled module first, then the source: the order in which Python looks."""
        here = self.files.get(base, ())
        compiled = min((name for name in here if name.endswith((".so", ".pyd"))), default=None)
        source = f"{base}.py" if f"{base}.py" in here else None
        return compiled or source or min((name for name in here if name.endswith(".pyc")), default=None)
