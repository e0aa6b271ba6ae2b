"""How a report is shown: one shape of sections, drawn as terminal tables, one HTML page, CSV or JSON."""
