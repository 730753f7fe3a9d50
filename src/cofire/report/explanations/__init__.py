"""The section that shows the evidence for single decisions: right ones, and mistakes."""
