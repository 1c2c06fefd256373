"""Many residents at once: read a spreadsheet, check every row, write them in batches, and take it back."""
