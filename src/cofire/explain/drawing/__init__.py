"""Explanations drawn: as pictures, as sheets and as one page."""
