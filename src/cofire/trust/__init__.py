"""A study of human trust (P3 §4.2): people say which of two networks' maps describes the object better.

`design` says who is shown what, `making` draws the maps, `answers` keeps what people say, `serving`
asks them, `judging` says what it amounts to, `page` tells it.
"""
