"""Heat flux of simple systems (chapter 10)."""
