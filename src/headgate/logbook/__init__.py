"""What is done with logged exchanges besides looking at them: export, eval datasets, replay (docs/logs.md)."""
