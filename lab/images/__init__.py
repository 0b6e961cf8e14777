"""Images: pulled where a registry answers, built from recipes where none does."""
