"""The one HTTP seam of the connectors: auth, budget, retry, redirects, and nothing about any provider."""
