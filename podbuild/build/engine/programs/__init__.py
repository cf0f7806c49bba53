"""Programs that run alone inside a namespace; they import nothing of podbuild."""
