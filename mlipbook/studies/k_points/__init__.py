"""What k points do to labels (chapter 1)."""
