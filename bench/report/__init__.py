"""From result files to tables, plots and pages; nothing here measures."""
