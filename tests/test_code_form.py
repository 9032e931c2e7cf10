"""The form of the code: names, sizes, air and imports; each measure is also tested on a small snippet."""

from functools import cache
from pathlib import Path

import pytest

from tests.code_measures import (
    CONTENTLESS_NAMES,
    ROOMS,
    Function,
    Module,
    blank_share,
    comprehensions_per_100_lines,
    cycle,
    files_per_folder,
    imports_between_files,
    imports_between_folders,
    read_modules,
)

ROOMS_WITH_SUB_ROOMS = ("jobs", "teachers", "student")

MAX_FUNCTION_LINES = 60
MAX_PARAMETERS = 6
MAX_FUNCTIONS_WITH_MORE_PARAMETERS = 3
MAX_COMPREHENSIONS_PER_100_LINES = 3.5
MIN_BLANK_SHARE = 0.04
MAX_FILES_IN_A_FOLDER = 14


@cache
def modules_of(*folders: str) -> list[Module]:
    """The modules of the repository's folders, parsed once."""
    return [module for folder in folders for module in modules_of_folder(folder)]


@cache
def modules_of_folder(folder: str) -> list[Module]:
    return read_modules(folder)


@cache
def functions_of_rooms() -> list[Function]:
    return [function for module in modules_of(*ROOMS) for function in module.functions()]


def snippet(folder: Path, code: str, path: str = "room/module.py") -> Module:
    file = folder / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(code)
    return Module(file, folder)


@pytest.mark.parametrize("folder", [*ROOMS, "benchmarks", "tests"])
def test_names_tell_what_they_hold(folder: str) -> None:
    places = [place for module in modules_of(folder) for place in module.contentless_names()]
    assert places == []


def test_functions_of_the_rooms_are_short() -> None:
    longer = [function.place for function in functions_of_rooms() if function.num_lines > MAX_FUNCTION_LINES]
    assert longer == []


def test_functions_of_the_rooms_have_few_parameters() -> None:
    exceptions = [
        function.place for function in functions_of_rooms() if function.num_parameters > MAX_PARAMETERS
    ]
    assert len(exceptions) <= MAX_FUNCTIONS_WITH_MORE_PARAMETERS, exceptions


@pytest.mark.parametrize("room", ROOMS)
def test_comprehensions_are_few(room: str) -> None:
    assert comprehensions_per_100_lines(modules_of(room)) < MAX_COMPREHENSIONS_PER_100_LINES


@pytest.mark.parametrize("room", ROOMS)
def test_functions_have_blank_lines_between_their_paragraphs(room: str) -> None:
    assert blank_share(modules_of(room)) >= MIN_BLANK_SHARE


def test_folders_have_few_files() -> None:
    num_files = files_per_folder(modules_of(*ROOMS_WITH_SUB_ROOMS))
    large = {folder: count for folder, count in num_files.items() if count > MAX_FILES_IN_A_FOLDER}
    assert large == {}


def test_imports_between_files_have_no_cycle() -> None:
    assert cycle(imports_between_files(modules_of(*ROOMS))) == []


def test_imports_between_folders_have_no_cycle() -> None:
    assert cycle(imports_between_folders(modules_of(*ROOMS))) == []


@pytest.mark.parametrize(
    "code",
    [
        "NAME = 1",
        "NAME: int = 1",
        "NAME += 1",
        "_, (NAME, *_) = values",
        "self.NAME = 1",
        "for NAME in rows: pass",
        "with file as NAME: pass",
        "if (NAME := value): pass",
        "[0 for NAME in rows]",
        "{0: 1 for _, NAME in rows}",
        "(lambda NAME: 0)",
        "def f(NAME): pass",
        "def f(NAME, /): pass",
        "def f(*, NAME=1): pass",
        "def f(*NAME): pass",
        "def f(**NAME): pass",
        "def NAME(): pass",
        "async def NAME(): pass",
        "class NAME: pass",
        "class Row:\n    NAME: str",
        "try: pass\nexcept OSError as NAME: pass",
        "import json as NAME",
        "from json import loads as NAME",
        "match row:\n    case [NAME, *_]: pass",
        "match row:\n    case [*NAME]: pass",
        "match row:\n    case {**NAME}: pass",
    ],
)
def test_a_contentless_name_is_detected_wherever_it_is_bound(tmp_path: Path, code: str) -> None:
    for name in ("found", "_asked", "Known", "_WANTED"):
        module = snippet(tmp_path, code.replace("NAME", name))
        [place] = module.contentless_names()
        assert place.startswith("room/module.py:") and place.endswith(f" {name}")

    module = snippet(tmp_path, code.replace("NAME", "num_rows"))
    assert list(module.contentless_names()) == []


def test_a_use_of_a_contentless_name_is_not_a_binding(tmp_path: Path) -> None:
    module = snippet(tmp_path, "print(found, row.asked, f(known=1), 'left')")
    assert {"found", "asked", "known", "left"} <= CONTENTLESS_NAMES
    assert list(module.contentless_names()) == []


def test_a_functions_lines_blank_lines_and_parameters_are_counted(tmp_path: Path) -> None:
    code = '''
class Row:
    def write(self, one, /, two, *others, three=3, **more):
        """Write.

        This blank line does not count.
        """
        first = 1

        return first
'''
    [function] = snippet(tmp_path, code).functions()
    # Its lines start at `def`. `one`, `two` and `three` are parameters.
    assert function == Function("room/module.py:3 write", 8, 1, 3)


def test_the_blank_share_is_that_of_long_functions(tmp_path: Path) -> None:
    statements = "    pass\n" * 5
    # 12 lines with one blank line; the short function would halve the share.
    long = snippet(tmp_path, f"def f():\n{statements}\n{statements}")
    short = snippet(tmp_path, f"def g():\n{statements}", "room/short.py")
    assert blank_share([long, short]) == pytest.approx(1 / 12)


def test_every_kind_of_comprehension_counts_and_blank_lines_do_not(tmp_path: Path) -> None:
    code = "a = [x for x in y]\n\nb = {x for x in y}\n\nc = {x: 1 for x in y}\nd = sum(x for x in y)\n"
    assert comprehensions_per_100_lines([snippet(tmp_path, code)]) == 100
    # A comprehension within another one counts, too.
    nested = snippet(tmp_path, "a = [[x for x in y] for y in z]\nb = 1\n")
    assert comprehensions_per_100_lines([nested]) == 100


def test_files_are_counted_by_folder(tmp_path: Path) -> None:
    for path in ("room/__init__.py", "room/a.py", "room/b.py", "room/below/__init__.py", "room/below/c.py"):
        snippet(tmp_path, "", path)
    assert files_per_folder(read_modules("room", root=tmp_path)) == {"room": 2, "room/below": 1}


def test_a_cycle_of_files_is_detected_wherever_the_import_is(tmp_path: Path) -> None:
    snippet(tmp_path, "import room.b", "room/a.py")
    snippet(tmp_path, "def f():\n    from room import c", "room/b.py")
    snippet(tmp_path, "x = 1", "room/c.py")
    imports = imports_between_files(read_modules("room", root=tmp_path))
    assert imports == {"room.a": {"room.b"}, "room.b": {"room.c"}, "room.c": set()}
    assert cycle(imports) == []

    snippet(tmp_path, "if TYPE_CHECKING:\n    from room.a import f", "room/c.py")
    imports = imports_between_files(read_modules("room", root=tmp_path))
    assert set(cycle(imports)) == {"room.a", "room.b", "room.c"}


def test_a_cycle_of_folders_is_detected_where_the_files_have_none(tmp_path: Path) -> None:
    snippet(tmp_path, "from room.two.b import f", "room/one/a.py")
    snippet(tmp_path, "", "room/two/b.py")
    snippet(tmp_path, "from room import config", "room/two/c.py")
    snippet(tmp_path, "from room.one.d import f", "room/config.py")
    snippet(tmp_path, "", "room/one/d.py")
    modules = read_modules("room", root=tmp_path)
    assert cycle(imports_between_files(modules)) == []

    folders = imports_between_folders(modules)
    assert folders == {"room.one": {"room.two"}, "room.two": {"room.config"}, "room.config": {"room.one"}}
    assert set(cycle(folders)) == {"room.one", "room.two", "room.config"}
