"""No reader unpickles: what can run code is neither called on good files nor on bad ones."""

import io
import pickle
import sys
import traceback

import pytest
import torch

from cofire.errors import CofireError
from tests.fuzz.readable import good_files


class Mark:
    """What runs when it is unpickled."""

    def __reduce__(self):
        return exec, ("raise SystemExit('a pickle ran')",)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return good_files(tmp_path_factory.mktemp("read"))


@pytest.fixture
def unpickled(monkeypatch):
    """Calls of what unpickles, each with where it came from; numba's own cache of compiled loops is not asked."""
    calls = []

    def notice(name):
        stack = traceback.extract_stack()
        if not any("numba" in frame.filename for frame in stack):
            calls.append((name, [f"{frame.filename}:{frame.lineno}" for frame in stack[-7:-2]]))

    def noticing(plain, name):
        def noticed(*args, **options):
            notice(name)
            return plain(*args, **options)

        return noticed

    def noticing_class(plain):
        class Noticed(plain):
            def __init__(self, *args, **options):
                notice(plain.__name__)
                super().__init__(*args, **options)

        return Noticed

    for module in (pickle, sys.modules["_pickle"]):
        for name in ("load", "loads"):
            monkeypatch.setattr(module, name, noticing(getattr(module, name), name))
        monkeypatch.setattr(module, "Unpickler", noticing_class(module.Unpickler))
    monkeypatch.setattr(pickle, "_Unpickler", noticing_class(pickle._Unpickler))
    monkeypatch.setattr(
        torch._C, "_pickle_load_obj", noticing(torch._C._pickle_load_obj, "_pickle_load_obj")
    )
    return calls


def test_the_hooks_notice(unpickled):
    held = io.BytesIO()
    torch.save({"a": {1, 2}}, held)
    held.seek(0)
    assert torch.load(held, weights_only=False) == {"a": {1, 2}}
    assert pickle.loads(pickle.dumps(1)) == 1
    assert {name for name, _ in unpickled} == {"Unpickler", "loads"}


def test_no_reader_unpickles_good_files(files, unpickled):
    for path, read in files.items():
        if path.exists():
            read(path)
        assert not unpickled, (path.name, unpickled[0])


def test_no_reader_unpickles_bad_files(files, unpickled):
    held = io.BytesIO()
    torch.save({"state_dict": Mark(), "checkpoint": 1}, held)
    bad = (pickle.dumps(Mark()), pickle.dumps(Mark(), protocol=0), held.getvalue())
    for path, read in files.items():
        whole = path.read_bytes() if path.exists() else None
        for content in bad:
            path.write_bytes(content)
            with pytest.raises(CofireError):
                read(path)
        if whole is None:
            path.unlink()
        else:
            path.write_bytes(whole)
        assert not unpickled, (path.name, unpickled[0])
