import importlib.util

import pytest

from cofire.errors import MissingExtraError, OptionError
from cofire.report import export, figures, write_figures

from . import synthetic
from .synthetic_graphs import with_graphs


@pytest.mark.slow
def test_figures_become_real_images(tmp_path, quiet_chromium, monkeypatch):
    pytest.importorskip("kaleido")
    monkeypatch.setenv("COFIRE_CHROMIUM", quiet_chromium)
    run = with_graphs(synthetic.trajectory(layers=(30,), checkpoints=6), top=6)
    written = write_figures(run, tmp_path / "figures")
    assert {p.stem for p in written} == set(figures(run))
    assert sorted(p.name for p in (tmp_path / "figures").iterdir()) == sorted(
        p.name for p in written
    )
    for path in written:
        content = path.read_bytes()
        if path.suffix == ".png":
            from PIL import Image

            with Image.open(path) as image:
                assert image.width == 2700
                assert image.convert("RGB").getpixel((2, 2)) == (255, 255, 255)
        else:
            assert content.startswith(b"<svg")
            assert content.rstrip().endswith(b"</svg>")


def test_an_unknown_format_is_an_error(tmp_path):
    with pytest.raises(OptionError, match="gif"):
        write_figures(synthetic.trajectory(checkpoints=2), tmp_path, formats=("gif",))


def test_without_kaleido_the_extra_is_named(tmp_path, monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr(
        export.importlib.util, "find_spec", lambda n, *a: None if n == "kaleido" else real(n, *a)
    )
    with pytest.raises(MissingExtraError, match=r'pip install "cofire\[figures\]"'):
        write_figures(synthetic.trajectory(checkpoints=2), tmp_path)


@pytest.mark.parametrize("named", ["", "/no/such/browser"])
def test_without_a_browser_the_remedy_is_named(tmp_path, monkeypatch, named):
    pytest.importorskip("kaleido")
    monkeypatch.setenv("COFIRE_CHROMIUM", named)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(MissingExtraError, match=r'pip install "cofire\[figures\]"'):
        write_figures(synthetic.trajectory(checkpoints=2), tmp_path)
