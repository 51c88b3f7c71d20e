"""What a validation says: lights, what to do next, tables, pictures, the page."""
