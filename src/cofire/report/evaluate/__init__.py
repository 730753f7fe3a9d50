"""Judged explanations as tables, figures and pages."""
