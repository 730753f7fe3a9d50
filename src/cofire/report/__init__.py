"""Pages and figures from results: a verdict, then question by question, in one file by itself."""

from cofire.report.export import browser, write_figures
from cofire.report.page import figures, write_boost_report, write_report
from cofire.report.section import SECTIONS, Results, Section, register_section
from cofire.report.table import Cell, Column, Table

__all__ = [
    "SECTIONS",
    "Cell",
    "Column",
    "Results",
    "Section",
    "Table",
    "browser",
    "figures",
    "register_section",
    "write_boost_report",
    "write_figures",
    "write_report",
]
