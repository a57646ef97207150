"""What is behind `performance_report.md`: the stack measured as a user runs it, beside others."""
