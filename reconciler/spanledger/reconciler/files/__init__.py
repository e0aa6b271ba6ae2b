"""Bills as files: FOCUS, cloud cost exports, providers' invoice CSVs, and anything that a mapping describes."""
