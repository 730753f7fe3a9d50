"""What people install: the wheel and the sdist, what is in them, and that they work by themselves."""

import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

import cofire
from cofire.cli.doctor import EXTRAS

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def called(*arguments, cwd=ROOT, **environment):
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dist")
    called("-m", "build", "--no-isolation", "--outdir", folder, ".")
    (wheel,), (sdist,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return wheel, sdist


@pytest.mark.slow
def test_the_wheel_holds_the_package_whole_and_nothing_else(built):
    held = set(zipfile.ZipFile(built[0]).namelist())
    package = Path(cofire.__file__).parent
    own = {
        f"cofire/{path.relative_to(package).as_posix()}"
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert "cofire/py.typed" in own
    assert own == {name for name in held if ".dist-info/" not in name}
    assert any(name.endswith("licenses/LICENSE") for name in held)


@pytest.mark.slow
def test_the_sdist_holds_tests_and_no_data(built):
    with tarfile.open(built[1]) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    assert {"pyproject.toml", "LICENSE", "README.md", "tests/test_house.py"} <= held
    assert not [name for name in held if Path(name).suffix in (".pt", ".lock", ".whl", ".ipynb")]


@pytest.mark.slow
def test_both_pass_the_checks_of_an_index(built):
    called("-m", "twine", "check", "--strict", *built)
    called("-m", "check_wheel_contents", built[0])


@pytest.mark.slow
def test_the_wheel_works_where_it_is_unpacked(built, tmp_path):
    zipfile.ZipFile(built[0]).extractall(tmp_path)
    path = {"PYTHONPATH": str(tmp_path)}
    assert called("-m", "cofire", "--version", cwd=tmp_path, **path) == (
        f"cofire {cofire.__version__}\n"
    )
    assert str(tmp_path) in called("-c", "import cofire; print(cofire.__file__)", **path)
    called("-m", "doctest", tmp_path / "cofire" / "graphs" / "louvain.py", cwd=tmp_path, **path)


def test_every_extra_is_told_of_by_doctor():
    assert set(EXTRAS) == set(PROJECT["optional-dependencies"]) - {"dev", "docs"}


def test_what_is_needed_has_a_lower_bound():
    every = PROJECT["optional-dependencies"] | {"": PROJECT["dependencies"]}
    open_ones = [
        one
        for some in every.values()
        for one in some
        if ">=" not in one and not one.startswith("cofire[")
    ]
    assert not open_ones


def test_the_version_is_one():
    cited = re.search(r"^version: (.*)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    assert cited[1] == cofire.__version__
    parts = re.findall(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert parts[0] == "Unreleased"
    assert all(re.fullmatch(r"\d+\.\d+\.\d+ \(\d{4}-\d\d-\d\d\)", one) for one in parts[1:])
