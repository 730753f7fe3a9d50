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
    "reading",
    "atomic",
    "storage",
    "checksums",
    "compiled",
    "marks",
    "tensors",
    "arguments",
    "options",
    "statistics",
    "noted",
    "references",
    "plugins",
    "network",
    "patterns",
    "graphs",
    "activations",
    "functional",
    "boost",
    "images",
    "explain",
    "evaluate",
    "study",
    "report",
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
