"""An exact test that tells barostats apart (chapter 6)."""
