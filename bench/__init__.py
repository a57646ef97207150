"""The benchmark behind `performance_report.md`: the stack, and the alternatives beside it."""
