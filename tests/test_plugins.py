"""Own code is loaded by its module or its file, once, and says by itself what is wrong with it."""

import sys

import pytest

from cofire import plugins
from cofire.cli.main import main
from cofire.errors import OptionError, RuleError


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "loaded_plugins", [], raising=False)
    return tmp_path


@pytest.mark.parametrize("name", ["own_module_of_here", "own.py"])
def test_a_plugin_is_a_module_or_a_file_and_runs_once(here, name):
    file = here / (name if name.endswith(".py") else f"{name}.py")
    file.write_text("import sys\nsys.loaded_plugins.append(__name__)\n")
    plugins.load([name])
    plugins.load([name])
    assert len(sys.loaded_plugins) == 1


def test_the_environment_names_plugins_too_and_they_come_first(here, monkeypatch):
    for name in ("first.py", "second.py"):
        (here / name).write_text(f"import sys\nsys.loaded_plugins.append({name!r})\n")
    monkeypatch.setenv("COFIRE_PLUGINS", " first.py, ")
    plugins.load(["second.py"])
    assert sys.loaded_plugins == ["first.py", "second.py"]


def test_the_command_line_loads_plugins_before_the_verb(here, monkeypatch, capsys):
    (here / "own.py").write_text("import sys\nsys.loaded_plugins.append(1)\n")
    monkeypatch.setattr(sys, "argv", ["cofire", "--plugin", "own.py", "graph", "--help"])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 0
    assert sys.loaded_plugins == [1]
    monkeypatch.setattr(sys, "argv", ["cofire", "--plugin", "absent.py", "graph", "--help"])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 1
    assert "plugin absent.py: FileNotFoundError" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["absent.py", "absent_module", "fails.py"])
def test_a_plugin_that_cannot_be_imported_is_named(here, name):
    (here / "fails.py").write_text("1 / 0\n")
    for _ in range(2):
        with pytest.raises(OptionError, match=f"plugin {name}: "):
            plugins.load([name])


def test_what_a_plugin_registers_wrongly_is_refused_in_its_own_words(here):
    (here / "own.py").write_text("import cofire\nraise cofire.errors.RuleError('a', 'b', 'c')\n")
    with pytest.raises(RuleError, match=r"a\. Expected: b"):
        plugins.load(["own.py"])
