"""What an evaluation found, as one static HTML page and as Markdown: sections of text, tables and pictures."""
