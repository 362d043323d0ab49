"""What leaves the house: records as JSON, reports as HTML."""
