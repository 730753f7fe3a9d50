"""One data set and network, and many processes or machines: the same bits, however the work is cut."""

from cofire.scale.ray_passes import summarize

__all__ = ["summarize"]
