"""What people look at: tables and plots of finished runs."""

from retdm.report.comparison_html import comparison_html
from retdm.report.comparison_markdown import comparison_markdown

__all__ = ["comparison_html", "comparison_markdown"]
