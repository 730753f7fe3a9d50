"""Which methods explain, and how a method of one's own becomes one of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from torch import Tensor

from cofire.arguments import validated
from cofire.errors import OptionError, near_matches
from cofire.explain.result.layer_maps import LayerMaps
from cofire.explain.result.neurons import Neurons, Site
from cofire.explain.result.regions import Kind, Regions, region_names, regions_of
from cofire.network import Network
from cofire.options import Options

Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True, eq=False)
class Found:
    """What a method found for a batch of images, where that is more than a tensor.

    Attributes:
        maps: (images, height, width), from 0 up; None of a method that gives points.
        sites: Of the neurons, from the input to the classes.
        neurons: What was traced.
        layer_maps: Evidence at layers, to make heat maps and boxes of; None makes them of
            points.
        options: What the explanation notes of the options; all of them unless given.
        unused: Options that this network has no use for, which are not noted.
        instead: Options that this network takes otherwise, which are noted so.
        logits: (images, classes), of a method that runs the network itself.
        classes: (images, n), the classes that it explained then.
    """

    maps: Tensor | None = None
    sites: tuple[Site, ...] = ()
    neurons: Neurons | None = None
    layer_maps: LayerMaps | None = None
    options: Mapping[str, Any] | None = None
    unused: tuple[str, ...] = ()
    instead: Mapping[str, Any] = field(default_factory=dict)
    logits: Tensor | None = None
    classes: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Method:
    """One row of the table of methods; see `register_method`, which makes it."""

    name: str
    function: Callable[[Network, Tensor, Any, Any], Tensor | Found]
    title: str
    options: type[Options]
    gives: Literal["points", "maps"]
    meaning: str = ""
    baseline: bool = False
    predicts: bool = False
    regions: Mapping[str, Any] = field(default_factory=dict)

    def kind(self, options: Mapping[str, Any] | None = None) -> Kind:
        """What heat maps and boxes are made of, where a network has what it needs.

        A method that gives points and has the option `contrast` makes them of layers, unless that
        is None; in several views all methods give maps.

        Args:
            options: Those that are not as usual.

        Example:
            >>> METHODS["discernible"].kind(), METHODS["discernible"].kind({"contrast": None})
            ('layers', 'points')
        """
        if self.gives == "maps" or (options or {}).get("views") is not None:
            return "maps"
        contrast = self.options.model_fields.get("contrast")
        usual = None if contrast is None else contrast.default
        return "points" if (options or {}).get("contrast", usual) is None else "layers"

    def regions_of(self, options: Mapping[str, Any], kind: Kind) -> tuple[Regions, dict[str, Any]]:
        """Options parted into those of heat maps and boxes, as this method has them, and all others."""
        return regions_of({**self.regions, **options} if kind == "layers" else options, kind)

    def read(self, options: Mapping[str, Any], kind: Kind) -> tuple[Regions, Any]:
        """Options of `explain` parted into those of heat maps and boxes, and the method's own model.

        Raises:
            OptionError: An option is unknown, or has a value that it cannot have.
        """
        regions, own = self.regions_of(options, kind)
        known = [*self.options.model_fields, *region_names(kind)]
        for name in own:
            if name not in self.options.model_fields:
                raise OptionError(
                    f"{name}= for method {self.name!r}",
                    f"one of its options: {', '.join(known)}",
                    f"pass {near_matches(name, known, most=1)}, or leave it out",
                )
        return regions, self.options(**own)

    def __call__(
        self, network: Network, images: Tensor, classes: Tensor | None, options: Any
    ) -> Tensor | Found:
        """What the method finds."""
        return self.function(network, images, classes, options)


METHODS: dict[str, Method] = {}
"""The methods that explain, by name."""

BASELINES: dict[str, Method] = {}
"""What knows nothing of a network, to judge methods by."""


@validated
def register_method(
    name: str,
    *,
    title: str,
    options: type[Options] = Options,
    gives: Literal["points", "maps"] = "maps",
    meaning: str = "",
    baseline: bool = False,
    predicts: bool = False,
    regions: Mapping[str, Any] | None = None,
) -> Callable[[Function], Function]:
    """Register a function that explains; `explain`, `cofire evaluate` and the pages know it from then on.

    The function is called with the network, images (images, *network.input_shape), the class to
    explain of each image (images,) and its options. Of a method that gives maps it returns them,
    (images, height, width), from 0 up, vectors as one row of pixels; of one that gives points the
    score of each pixel, (images, height, width), where what is above 0 is a point.

    Args:
        name: How it is asked for; a method of this name is replaced.
        title: How pages call it.
        options: Model of its options: their names, defaults, bounds and descriptions.
        gives: "maps" or "points".
        meaning: One sentence on what it shows.
        baseline: Whether it knows nothing of the network: it is judged, and does not explain.
        predicts: Whether the function runs the network itself. It then takes classes (images, n),
            or None for the predicted ones, and returns `Found` with logits and classes.
        regions: How heat maps and boxes of its layers are made unless asked otherwise, by name.

    Raises:
        OptionError: The name is not of lower-case letters, digits, "+", "-" or "_".

    Example:
        >>> import torch
        >>> from pydantic import Field
        >>> from cofire import explain
        >>> class BrightOptions(Options):
        ...     least: float = Field(0.5, ge=0, title="Least", description="What is bright.")
        >>> @register_method("bright", title="Bright pixels", options=BrightOptions)
        ... def bright(network, images, classes, options):
        ...     return (images.mean(1) - options.least).clamp(min=0)
        >>> network = Network(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2)), torch.zeros(1, 1, 2, 2))
        >>> explain(network, torch.tensor([[[[1.0, 0.5], [0.25, 0.0]]]]), method="bright", least=0.25).heatmap()
        tensor([[[0.7500, 0.2500],
                 [0.0000, 0.0000]]])
        >>> del METHODS["bright"]
    """
    if (
        not name.isascii()
        or not name.replace("-", "").replace("+", "").isidentifier()
        or name != name.lower()
    ):
        raise OptionError(
            f"method name {name!r}",
            "lower-case letters, digits, '+', '-' and '_'",
            'write @register_method("my-method", title="My method")',
        )

    def registered(function: Function) -> Function:
        rows = BASELINES if baseline else METHODS
        rows[name] = Method(
            name, function, title, options, gives, meaning, baseline, predicts, regions or {}
        )
        return function

    return registered


def method_of(name: str, *, baselines: bool = False) -> Method:
    """The row of a method.

    Args:
        name: Its name.
        baselines: Whether it may be a baseline.

    Raises:
        OptionError: There is none of this name.
    """
    rows = METHODS | BASELINES if baselines else METHODS
    if name not in rows:
        raise OptionError(
            f"method={name!r}",
            f"one of {', '.join(map(repr, rows))}",
            f"pass {near_matches(str(name), rows, most=1)}",
        )
    return rows[name]


def kind_of(name: str, options: Mapping[str, Any]) -> Kind:
    """What a method makes heat maps and boxes of; see `Method.kind`."""
    return method_of(name, baselines=True).kind(options)


@validated
def title_of(name: str) -> str:
    """A method's name as papers write it; others as they are.

    Example:
        >>> title_of("gradcam++"), title_of("mine")
        ('Grad-CAM++', 'mine')
    """
    row = METHODS.get(name) or BASELINES.get(name)
    return name if row is None else row.title
