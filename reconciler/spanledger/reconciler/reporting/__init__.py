"""What a report shows, as values: spend, chargeback, change, forecast, implied prices. Nothing here prints."""
