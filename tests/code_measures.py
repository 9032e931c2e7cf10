"""Measures of the code's form: names, imports, sizes, air.

python -m tests.code_measures [FOLDER ...] prints them, by room where no folder is named.
"""

import ast
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parents[1]
ROOMS = ("teachers", "student", "serve", "jobs")

# Names that do not tell what they hold.
CONTENTLESS_NAMES = {"found", "said", "known", "wanted", "asked", "given", "of", "left", "own", "news"}

_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
_LONG_ENOUGH_FOR_AIR = 12


@dataclass(frozen=True)
class Function:
    """One function. Lines go from its `def` to its end; blank ones in its docstring do not count."""

    place: str
    num_lines: int
    num_blank_lines: int
    num_parameters: int


@dataclass(frozen=True)
class Module:
    """One file of Python; its names and places are relative to `root`."""

    path: Path
    root: Path = ROOT

    @cached_property
    def text(self) -> str:
        return self.path.read_text()

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @property
    def name(self) -> str:
        """The dotted name; a package is named by its folder."""
        parts = self.path.relative_to(self.root).with_suffix("").parts
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    @property
    def num_lines(self) -> int:
        return self.text.count("\n")

    @property
    def num_comprehensions(self) -> int:
        return sum(isinstance(node, _COMPREHENSIONS) for node in ast.walk(self.tree))

    def functions(self) -> Iterator[Function]:
        """Every function and method, also those within others."""
        lines = self.text.splitlines()

        for node in ast.walk(self.tree):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            body = lines[node.lineno - 1 : node.end_lineno]

            arguments = node.args
            parameters = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
            if parameters and parameters[0].arg in ("self", "cls"):
                del parameters[0]

            yield Function(
                place=self._place(node.lineno, node.name),
                num_lines=len(body),
                num_blank_lines=_num_blank(body) - _num_blank(_docstring_lines(node, lines)),
                num_parameters=len(parameters),
            )

    def contentless_names(self) -> Iterator[str]:
        """Places where a variable, parameter, field, function, class or import gets such a name."""
        for node in ast.walk(self.tree):
            name = _bound_name(node)
            if name is not None and name.strip("_").lower() in CONTENTLESS_NAMES:
                yield self._place(node.lineno, name)  # type: ignore[attr-defined]

    def imports(self, modules: set[str]) -> set[str]:
        """Those of `modules` that it imports, anywhere in the file."""
        imported: set[str] = set()

        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                imported |= {alias.name for alias in node.names} & modules
            elif isinstance(node, ast.ImportFrom) and node.module:
                names = {f"{node.module}.{alias.name}" for alias in node.names}
                imported |= names & modules or {node.module} & modules
        return imported - {self.name}

    def _place(self, line: int, name: str) -> str:
        return f"{self.path.relative_to(self.root)}:{line} {name}"


def read_modules(*folders: str, root: Path = ROOT) -> list[Module]:
    """Every module in the folders and beneath."""
    paths: list[Path] = []
    for folder in folders:
        paths += sorted((root / folder).rglob("*.py"))
    return [Module(path, root) for path in paths]


def files_per_folder(modules: list[Module]) -> Counter[str]:
    """Folder -> number of its modules, without `__init__.py` and without those beneath."""
    return Counter(
        module.path.parent.relative_to(module.root).as_posix()
        for module in modules
        if module.path.name != "__init__.py"
    )


def imports_between_files(modules: list[Module]) -> dict[str, set[str]]:
    """Module -> the modules that it imports."""
    names = {module.name for module in modules}
    return {module.name: module.imports(names) for module in modules}


def imports_between_folders(modules: list[Module]) -> dict[str, set[str]]:
    """Sub-room or top-level module -> those that it imports."""
    boxes: dict[str, set[str]] = {}
    for name, imported in imports_between_files(modules).items():
        boxes.setdefault(box_of(name), set()).update(box_of(other) for other in imported)
    return {box: imported - {box} for box, imported in boxes.items()}


def box_of(module: str) -> str:
    """The box of a module in a picture of the rooms: its sub-room, or itself at the top of its room."""
    return ".".join(module.split(".")[:2])


def cycle(imports: dict[str, set[str]]) -> list[str]:
    """The names along one circle of imports; empty where there is none."""
    try:
        list(TopologicalSorter(imports).static_order())
    except CycleError as error:
        return list(error.args[1])
    return []


def comprehensions_per_100_lines(modules: list[Module]) -> float:
    """Comprehensions and generator expressions per 100 lines that are not blank."""
    num_blank = sum(_num_blank(module.text.splitlines()) for module in modules)
    return 100 * sum(module.num_comprehensions for module in modules) / (lines_in(modules) - num_blank)


def blank_share(modules: list[Module]) -> float:
    """Share of blank lines in functions of a dozen lines and more."""
    lines = blank = 0
    for module in modules:
        for function in module.functions():
            if function.num_lines >= _LONG_ENOUGH_FOR_AIR:
                lines += function.num_lines
                blank += function.num_blank_lines
    return blank / max(1, lines)


def lines_in(modules: list[Module]) -> int:
    return sum(module.num_lines for module in modules)


def _bound_name(node: ast.AST) -> str | None:
    """The name that a node binds; None where it binds none."""
    match node:
        case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
            return name  # assignments, loops, `with`, walrus and the variables of comprehensions
        case ast.arg(arg=name):
            return name  # parameters of all kinds, those of a lambda included
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            return name
        case ast.alias(asname=name) | ast.ExceptHandler(name=name):
            return name
        case ast.MatchAs(name=name) | ast.MatchStar(name=name) | ast.MatchMapping(rest=name):
            return name
    return None


def _docstring_lines(node: ast.FunctionDef | ast.AsyncFunctionDef, lines: list[str]) -> list[str]:
    if ast.get_docstring(node) is None:
        return []
    return lines[node.body[0].lineno - 1 : node.body[0].end_lineno]


def _num_blank(lines: list[str]) -> int:
    return sum(not line.strip() for line in lines)


def main() -> None:
    """Print the measures of each folder named, or of each room."""
    for folder in sys.argv[1:] or ROOMS:
        modules = read_modules(folder)
        functions = [function for module in modules for function in module.functions()]
        longest = max(functions, key=lambda function: function.num_lines)
        arrows = imports_between_folders(modules)
        print(
            f"{folder}: {lines_in(modules)} lines, {len(modules)} files, {len(arrows)} boxes, "
            f"{sum(map(len, arrows.values()))} arrows, circle {cycle(arrows) or 'none'}, "
            f"{comprehensions_per_100_lines(modules):.2f} comprehensions per 100 lines, "
            f"{100 * blank_share(modules):.1f} % blank, longest {longest.place} ({longest.num_lines})"
        )

        for function in functions:
            if function.num_parameters > 6:
                print(f"  {function.place}: {function.num_parameters} parameters")
        for module in modules:
            for place in module.contentless_names():
                print(f"  {place}")


if __name__ == "__main__":
    main()
