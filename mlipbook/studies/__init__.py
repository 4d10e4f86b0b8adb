"""Computations that a chapter and its paper-scale run share: orchestration only, no physics, no plots."""
