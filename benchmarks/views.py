"""What `views=` gives: a plugin with the default's map in one view and in several, to be judged on the same photos.

    cofire --plugin benchmarks/views.py evaluate --model … --data … --boxes … --out judged-views \
        --method in-mirror,in-scale,in-both,in-one --measures localisation,sensitivity

Each is what `cofire.explain(network, images, classes, points=False, views=…)` gives; views that several of them need
are explained once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from cofire import explain, register_method
from cofire.explain import METHODS, Explanation
from cofire.explain.views import VIEWS, in_views
from cofire.network import Network

_held: dict[Any, Explanation] = {}


def _maps(network: Network, images: Tensor, classes: Tensor, views: str | None) -> Tensor:
    def once(seen: Tensor, target: Tensor, options: Mapping[str, Any]) -> Explanation:
        key = (hash(seen.numpy().tobytes()), tuple(target.flatten().tolist()))
        if key not in _held:
            # Four views of one batch.
            if len(_held) == 4:
                _held.clear()
            _held[key] = explain(network, seen, target, **options)
        return _held[key]

    if views is None:
        return once(images, classes, {"points": False}).heatmap()
    return in_views(once, METHODS["discernible"], images, classes, {}, views).heatmap()


def _register(name: str, views: str | None) -> None:
    @register_method(f"in-{name}", title=f"Views: {name}")
    def seen(network: Network, images: Tensor, classes: Tensor, options: Any) -> Tensor:
        return _maps(network, images, classes, views)


for _name, _views in {"one": None, **{each: each for each in VIEWS}}.items():
    _register(_name, _views)
