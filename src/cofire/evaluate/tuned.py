"""What was learnt of a method's options, and the file that `cofire tune` writes and `cofire explain` takes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field, ValidationError

from cofire.arguments import validated
from cofire.errors import CofireError, OptionError, ResultError
from cofire.evaluate.bandit import BanditRun
from cofire.evaluate.methods import kind_for
from cofire.evaluate.search_space import alike, defaults_of
from cofire.explain.methods.registry import METHODS, kind_of
from cofire.explain.result.regions import Kind, Regions, regions_of
from cofire.marks import choice
from cofire.network import Network
from cofire.reading import reader
from cofire.statistics import Interval
from cofire.storage import load_json, save_json

_FORMAT = 2
_Share = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True, eq=False)
class Learned:
    """What was learnt of one option.

    Attributes:
        name: "current", "preceding", "succeeding" for the weights of Eq. 1, else the option's own.
        values: That were tried, in the order of the run's arms.
        start: What it was before.
        chosen: What it is now.
        judged: What a reward was given for: "iou" of the box, or "pointing" of the map.
        alike: Whether all values give the same explanations, so that there is nothing to learn.
        run: The trials.
    """

    name: str
    values: tuple[Any, ...]
    start: Any
    chosen: Any
    judged: str
    alike: bool
    run: BanditRun


@dataclass(frozen=True)
class Score:
    """How options do on all tuning photos.

    Attributes:
        iou: Mean intersection over union of the box with the object's.
        reached: Share of photos whose box reaches what earns a reward.
        pointing: Share of photos whose map points at the object.
    """

    iou: _Share
    reached: _Share
    pointing: _Share


@validated
@dataclass(frozen=True, eq=False, repr=False)
class Tuned:
    """Options of a method that were learnt on tuning photos.

    Attributes:
        method: Whose.
        options: Of the tracing, all of them; empty for maps.
        regions: How points, layers and maps become heat maps and boxes.
        network: Digest of the network that they were learnt on: architecture and weights.
        architecture: Its fingerprint, the same for all weights.
        photos: How many tuning photos there were.
        without_box: How many more were left out, as the network sees no box of them.
        least_iou: From which intersection over union a box earned its reward.
        seed: Of the order of the photos.
        learned: What was learnt, in order.
        before: How the method's own options do on the photos.
        after: How those that were learnt do: on the same photos, and so too well.
        gain: By how much more photos reach the reward, with a 95 % interval, paired.
        setup: How it was made: model, weights, preparation, command, versions.
    """

    method: str
    options: Mapping[str, Any]
    regions: Regions
    network: str
    architecture: str
    photos: int
    without_box: int
    least_iou: float
    seed: int
    learned: tuple[Learned, ...]
    before: Score
    after: Score
    gain: Interval
    setup: Mapping[str, Any] = field(default_factory=dict)

    @property
    def kind(self) -> Kind:
        """What heat maps and boxes are made of."""
        return kind_of(self.method, self.options)

    @property
    def explain_options(self) -> dict[str, Any]:
        """What `cofire.explain.explain` takes, by name.

        Heat maps and boxes of what it then gives are made as was learnt.
        """
        plain = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in self.options.items()
        }
        return plain | self.regions.used(self.kind)

    def check(self, network: Network) -> None:
        """Refuse a network whose heat maps and boxes are made of something else than those that were learnt.

        Raises:
            OptionError: It has no layers with places, and the options are those of maps of layers.
        """
        if kind_for(network, self.method, self.options) != self.kind:
            raise OptionError(
                "options that were learnt for maps of layers, and a network without layers that have places",
                "a network with feature maps",
                "learn options of points with cofire tune on this network",
            )

    def note(self, network: Network) -> str | None:
        """What a user should know who takes the options for a network, None if they were learnt on this very one."""
        if network.digest() == self.network:
            return None
        other = (
            "other weights of this network"
            if network.fingerprint == self.architecture
            else "another network"
        )
        return f"the weights of layers were learnt on {other}; they can be used, and need not be the best"

    def with_setup(self, **setup: Any) -> Self:
        """The same with more said about how it was made."""
        return replace(self, setup={**self.setup, **setup})

    def described(self) -> dict[str, Any]:
        """As JSON can hold it.

        ```
        {"format": 2, "method": "discernible", "kind": "layers",         or "points", or "maps"
         "options": {"alpha": [1.0, 0.25, 1.0], "k": 5, "contrast": 0.7, ...},   of the method;
         null: all, or none "sigma": 0.054,                                                 of the
         heat map; null for maps "box": {"threshold": 0.45, "connected": true},   or, of points,
         {"min_share": 0.05, "radius": 0.1,
                                                                          "weighted": false}
         "network": digest, "architecture": fingerprint,
         "split": "tuning", "photos": 143, "without_box": 2, "seed": 0, "least_iou": 0.5,
         "before": {"iou", "reached", "pointing"}, "after": {...}, "gain": [value, low, high],
         "runs": [{"name": "current", "values": [...], "start", "chosen", "judged": "iou", "alike":
         false,
                   "names", "pulled", "rewards", "table"}, ...],
         "setup": {"model", "weights", "prepared", "command", "versions", ...}}
        ```
        """
        shown = self.regions.used(self.kind)
        sigma = shown.pop("sigma", None)
        of_run = [one.name for one in fields(Learned) if one.name != "run"]
        runs = [
            {name: getattr(one, name) for name in of_run} | one.run.described()
            for one in self.learned
        ]
        plain = ("network", "architecture", "photos", "without_box", "seed", "least_iou")
        return {
            "format": _FORMAT,
            "method": self.method,
            "kind": self.kind,
            "options": dict(self.options),
            "sigma": sigma,
            "box": shown,
            "split": "tuning",
            **{name: getattr(self, name) for name in plain},
            "before": asdict(self.before),
            "after": asdict(self.after),
            "gain": [self.gain.value, self.gain.low, self.gain.high],
            "runs": runs,
            "setup": dict(self.setup),
        }

    def save(self, path: str | Path) -> Path:
        """Write all of it as JSON, whole or not at all.

        Returns:
            The path.
        """
        return save_json(path, self.described())

    def __repr__(self) -> str:
        told = ", ".join(f"{one.name}={one.chosen}" for one in self.learned)
        return f"Tuned('{self.method}', {told}: learnt on {self.photos} photos)"


@validated
@reader(ResultError, "what cofire tune wrote", "learn the options again with cofire tune")
def read_tuned(path: str | Path) -> Tuned:
    """Read what `cofire tune` wrote: `explain(network, images, method=tuned.method, **tuned.explain_options)`.

    Args:
        path: The JSON file.

    Raises:
        ResultError: The file is missing, damaged, or holds something else.
    """
    try:
        return _read(load_json(path))
    except (ValueError, CofireError) as error:
        why = error
        if isinstance(error, ValidationError):
            first = error.errors()[0]
            why = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"  # type: ignore[assignment]
        elif isinstance(error, CofireError):
            why = f"{error.given}, expected is {error.expected}"  # type: ignore[assignment]
        raise ResultError(
            f"'{path}' holds no options of this version: {why}",
            "what cofire tune wrote",
            "name another file, or learn the options again with cofire tune",
        ) from error


class _Run(BaseModel, extra="allow"):
    name: str
    values: list[Any]
    start: Any
    chosen: Any
    judged: Literal["iou", "pointing"]
    alike: bool


class _File(BaseModel, allow_inf_nan=False):
    format: int
    method: str
    kind: str
    options: dict[str, Any]
    sigma: float | None
    box: dict[str, Any]
    network: str
    architecture: str
    photos: int
    without_box: int
    seed: int
    least_iou: _Share
    before: Score
    after: Score
    gain: tuple[float, float, float]
    runs: list[_Run]
    setup: dict[str, Any]


def _read(stored: Any) -> Tuned:
    # As JSON, where strict types take lists for tuples.
    file = _File.model_validate_json(json.dumps(stored), strict=True)
    if file.format == 1:
        raise ValueError(
            "it is of an earlier version, which knew heat maps and boxes of points alone"
        )
    if file.format != _FORMAT:
        raise ValueError(f"format {file.format!r}")
    choice(METHODS).of("method", file.method)
    method, kind = file.method, kind_of(file.method, file.options)
    shown = file.box | ({} if kind == "maps" else {"sigma": file.sigma})
    usual = regions_of({}, kind)[0].used(kind)
    if (file.kind, set(shown)) != (kind, set(usual)) or (kind == "maps" and file.sigma is not None):
        raise ValueError(
            f"{file.kind!r:.80} with a box of {', '.join(sorted(file.box))} for {kind}"
        )
    if unknown := set(file.options) - (set(defaults_of(method, kind)) - set(usual)):
        raise ValueError(f"options {sorted(unknown)}")
    alike(method, file.options)
    same = ("method", "options", "network", "architecture", "photos", "without_box", "least_iou")
    return Tuned(
        **{name: getattr(file, name) for name in (*same, "seed", "before", "after", "setup")},
        regions=regions_of(shown, kind)[0],
        learned=tuple(_learned(run) for run in file.runs),
        gain=Interval(*file.gain, file.photos),
    )


def _learned(stored: _Run) -> Learned:
    run, values = BanditRun.of(stored.model_extra), tuple(stored.values)
    if len(values) != len(run.names):
        raise ValueError(f"a run of {len(run.names)} arms for {len(values)} values")
    return Learned(
        stored.name, values, stored.start, stored.chosen, stored.judged, stored.alike, run
    )
