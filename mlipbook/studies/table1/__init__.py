"""Free-energy differences by four labelings (Fig. 2, Table 1, chapter 9)."""
