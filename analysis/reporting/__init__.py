"""Numbers as sentences, tables, figures and pages."""
