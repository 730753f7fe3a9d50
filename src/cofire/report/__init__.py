"""Pages and figures from results: what the neurons did, told in order, in one file by itself."""

from cofire.report.boost.page import write_boost_report
from cofire.report.export import browser, write_figures
from cofire.report.figures import figures
from cofire.report.page import write_report

__all__ = ["browser", "figures", "write_boost_report", "write_figures", "write_report"]
