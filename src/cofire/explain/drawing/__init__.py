"""Explanations drawn: as images, as sheets and as one page."""
