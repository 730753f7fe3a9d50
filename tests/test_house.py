"""The shape of the package: public names, the direction of imports, the error tree."""

import ast
import importlib
import inspect
import pickle
from pathlib import Path

import pytest

import cofire
from cofire import errors

SOURCE = Path(cofire.__file__).parent
ORDER = [
    "renamed",
    "errors",
    "remote",
    "reading",
    "atomic",
    "storage",
    "stored",
    "compiled",
    "marks",
    "tensors",
    "arguments",
    "options",
    "statistics",
    "references",
    "plugins",
    "shown",
    "network",
    "patterns",
    "graphs",
    "activations",
    "scale",
    "functional",
    "boost",
    "images",
    "explain",
    "evaluate",
    "study",
    "report",
    "trust",
    "live",
    "cli",
]


def modules():
    for path in sorted(SOURCE.rglob("*.py")):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        yield path, tuple(p for p in parts if p != "__init__")


def imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("cofire"):
            yield from (
                [node.module.split(".")[1]]
                if "." in node.module
                else [alias.name for alias in node.names]
            )
        elif isinstance(node, ast.Import):
            yield from (
                alias.name.split(".")[1] for alias in node.names if alias.name.startswith("cofire.")
            )


def test_folders_import_only_from_those_above_them():
    wrong = []
    for path, parts in modules():
        if not parts or parts == ("__main__",):
            continue
        wrong += [
            f"{'.'.join(parts)} imports {name}"
            for name in imported(path)
            if name in ORDER and ORDER.index(name) > ORDER.index(parts[0])
        ]
    assert not wrong


def test_the_pure_maths_knows_no_model_file_or_screen():
    for path in (SOURCE / "patterns").glob("*.py"):
        assert set(imported(path)) <= {
            "errors",
            "marks",
            "tensors",
            "arguments",
            "compiled",
            "patterns",
        }


@pytest.mark.parametrize("module", ["cofire", "cofire.functional", "cofire.errors"])
def test_every_public_name_exists_and_is_documented(module):
    namespace = importlib.import_module(module)
    assert sorted(namespace.__all__) == sorted(set(namespace.__all__))
    for name in namespace.__all__:
        thing = getattr(namespace, name)
        assert inspect.getdoc(thing), name


def test_the_error_tree_is_drawn_as_it_is():
    drawn = {
        line.split()[-len(line.split("── ")[-1].split()) :][0]
        for line in errors.__doc__.splitlines()
        if "── " in line
    }
    real = {n for n in errors.__all__ if n != "CofireError"}
    assert drawn == real
    for name in errors.__all__:
        assert issubclass(getattr(errors, name), errors.CofireError)


def test_errors_survive_being_sent_to_another_process():
    error = errors.LabelError("a", "b", "c")
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again)) == (errors.LabelError, "a. Expected: b. To fix it: c.")


def test_types_are_shipped():
    assert (SOURCE / "py.typed").exists()


def test_files_are_of_one_idea_and_say_which():
    for path, _ in modules():
        assert len(path.read_text().splitlines()) <= 500, path
        assert path.stem not in {"utils", "util", "helpers", "common", "misc", "tools"}
        assert ast.get_docstring(ast.parse(path.read_text())), path


FOREIGN_PRIVATE_NAMES = 0
"""Uses of another folder's private names that are left; may only fall."""


def private(name):
    return name.startswith("_") and not name.startswith("__")


def folder_of(parts):
    return parts[0] if parts else ""


def test_no_folder_uses_private_names_of_another():
    defined, used = {}, []
    for path, parts in modules():
        folder = folder_of(parts)
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                names = [node.name]
            elif isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
                names = [node.id if isinstance(node, ast.Name) else node.attr]
            else:
                names = []
            defined.setdefault(folder, set()).update(filter(private, names))
            if isinstance(node, ast.Attribute):
                used.append((folder, ".".join(parts), node.attr, None))
            elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("cofire."):
                source = folder_of(node.module.split(".")[1:])
                used += [(folder, ".".join(parts), alias.name, source) for alias in node.names]
    everywhere = set().union(*defined.values())
    foreign = sorted(
        f"{module} uses {name}"
        for folder, module, name, source in used
        if private(name)
        and name in everywhere
        # A name that a folder has itself is its own, wherever else it occurs.
        and (source != folder if source else name not in defined[folder])
    )
    assert len(foreign) <= FOREIGN_PRIVATE_NAMES, "\n".join(foreign)
