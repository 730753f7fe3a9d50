"""Explanations of photos: the page, the pictures, and the numbers behind them."""
