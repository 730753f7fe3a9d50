"""Where a monitor's numbers go: one function for TensorBoard, W&B, MLflow, trackio and Lightning's loggers."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
from torch import Tensor

from cofire.errors import OptionError

Log = Callable[[str, Any, int], None]
"""Takes the name of a chart, what it shows (a float; a tensor (neurons,), of which a histogram is made;
or an image of Pillow) and after how many steps."""


def logger(target: Any) -> Log:
    """The function `log(name, value, step)` that writes to a logger.

    Args:
        target: Such a function; a `SummaryWriter`; a run of W&B, MLflow or trackio; a logger of
            Lightning; "tensorboard", "tensorboard:FOLDER", "wandb", "mlflow" or "trackio" for the
            run that is under way there (TensorBoard: a new one); or a list of these. MLflow and
            other loggers of Lightning take no histograms, the latter no images either.

    Raises:
        OptionError: It is none of these, or no run is under way.
        ImportError: Its package is not installed.

    Example:
        >>> logger(print)("cofire/relu1/dead", 3.0, 500)
        cofire/relu1/dead 3.0 500
    """
    if isinstance(target, str):
        target = _named(target)
    if isinstance(target, list | tuple):
        several = [logger(one) for one in target]

        def log(name: str, value: Any, step: int) -> None:
            for one in several:
                one(name, value, step)

        return log
    root = type(target).__module__.partition(".")[0]
    if hasattr(target, "add_scalar"):
        return _tensorboard(target)
    if root == "wandb":
        target.define_metric("cofire/*", step_metric="cofire/step")
        return _media(target, import_module("wandb"), own_step=True)
    if root == "trackio":
        return _media(target, import_module("trackio"), own_step=False)
    if root == "mlflow":
        return _mlflow(import_module("mlflow").MlflowClient(), target.info.run_id)
    if hasattr(target, "log_metrics"):
        return _lightning(target)
    if callable(target):
        return target  # type: ignore[no-any-return]
    raise OptionError(
        f"log={type(target).__name__}",
        "a function log(name, value, step), a SummaryWriter, a run of W&B, MLflow or trackio, or a logger of Lightning",
        "pass log=print to see what is logged",
    )


def _named(name: str) -> Any:
    kind, _, folder = name.partition(":")
    if kind == "tensorboard":
        writer = import_module("torch.utils.tensorboard").SummaryWriter
        return writer(folder or None)
    runs: dict[str, Callable[[Any], Any]] = {
        "wandb": lambda package: package.run,
        "mlflow": lambda package: package.active_run(),
        "trackio": lambda package: package.context_vars.current_run.get(),
    }
    run = runs[kind](import_module(kind)) if kind in runs and not folder else None
    if run is None:
        raise OptionError(
            f"log={name!r}" + (", where no run is under way" if kind in runs else ""),
            f"tensorboard, tensorboard:FOLDER, or a run that is under way in {', '.join(runs)}",
            f"call {kind}.init() before" if kind in ("wandb", "trackio") else "start a run before",
        )
    return run


def _tensorboard(writer: Any) -> Log:
    def log(name: str, value: Any, step: int) -> None:
        if isinstance(value, float):
            writer.add_scalar(name, value, step)
        elif isinstance(value, Tensor):
            writer.add_histogram(name, value, step)
        else:
            writer.add_image(name, np.asarray(value), step, dataformats="HWC")

    return log


def _media(run: Any, package: Any, *, own_step: bool) -> Log:
    """W&B and trackio, whose values have the same names."""

    def log(name: str, value: Any, step: int) -> None:
        if isinstance(value, Tensor):
            value = package.Histogram(value.numpy())
        elif not isinstance(value, float):
            value = package.Image(value)
        # W&B drops what comes with a step before one that it has seen, from whomever.
        if own_step:
            run.log({name: value, "cofire/step": step})
        else:
            run.log({name: value}, step=step)

    return log


def _mlflow(client: Any, run: str) -> Log:
    def log(name: str, value: Any, step: int) -> None:
        name = name.replace(":", ".")  # a name may have no colon where it is a file's
        if isinstance(value, float):
            client.log_metric(run, name, value, step=step)
        elif not isinstance(value, Tensor):
            client.log_image(run, value, artifact_file=f"{name}/{step}.png")

    return log


def _lightning(target: Any) -> Log:
    kind = type(target).__name__
    if kind == "MLFlowLogger":
        return _mlflow(target.experiment, target.run_id)
    if kind in ("TensorBoardLogger", "WandbLogger"):
        return logger(target.experiment)

    def log(name: str, value: Any, step: int) -> None:
        if isinstance(value, float):
            target.log_metrics({name: value}, step=step)

    return log
