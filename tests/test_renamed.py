"""Old paths and names lead to the new ones."""

import importlib
import sys
import warnings

import pytest
import torch

import cofire
from cofire.renamed import FORWARDED, MODULES, REMOVED


def found(path):
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


@pytest.mark.parametrize("old", MODULES)
def test_a_module_is_imported_by_its_old_path_with_a_warning(old):
    for name in MODULES:
        sys.modules.pop(name, None)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        module = importlib.import_module(old)
    said = {str(w.message) for w in caught if w.category is DeprecationWarning}
    assert f"{old} is now {MODULES[old]}: import it from there" in said
    new = importlib.import_module(MODULES[old])
    assert all(
        getattr(module, name) is thing for name, thing in vars(new).items() if name[0] != "_"
    )


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("old", FORWARDED)
def test_a_renamed_name_is_found_in_its_old_module(old):
    assert found(old) is found(FORWARDED[old])


@pytest.mark.parametrize("old", REMOVED)
def test_a_public_name_that_is_gone_says_the_new_one(old):
    module, _, name = old.rpartition(".")
    with pytest.raises(ImportError, match=REMOVED[old].split("(")[0].replace(".", r"\.")):
        getattr(importlib.import_module(module), name)


def test_an_argument_by_its_old_name_says_the_new_one():
    image = torch.zeros(1, 3)
    with pytest.raises(cofire.errors.OptionError, match=r"pictures=.*images=, as it is called now"):
        cofire.explain(torch.nn.Linear(3, 2), image, 0, pictures=image)
    with pytest.raises(cofire.errors.OptionError, match=r"images=.*inputs=, as it is called now"):
        cofire.explain(torch.nn.Linear(3, 2), images=image)


def test_other_names_are_missing_as_ever():
    assert not hasattr(cofire, "nothing_of_the_kind")
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("cofire.nothing_of_the_kind")
