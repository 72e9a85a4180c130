"""Who meets which question: labels as bitsets, prefixes, named ports; the bits and the rows that they make."""
