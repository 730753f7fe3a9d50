"""Everything that a command imports, once for all forks."""

import importlib
import pkgutil
from contextlib import suppress

import cofire

for _found in pkgutil.walk_packages(cofire.__path__, "cofire."):
    if ".live" not in _found.name and "__main__" not in _found.name:
        with suppress(Exception):
            importlib.import_module(_found.name)
for _name in ("torch.export", "sklearn.datasets", "plotly.graph_objects", "tests.golden.running"):
    importlib.import_module(_name)
