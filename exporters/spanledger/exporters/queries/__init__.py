"""SQL texts of the exporters, one statement per file."""
