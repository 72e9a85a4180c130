"""What users hand in, as text: files, YAML and JSON, read strictly. Nothing here knows what a document means."""
