"""How a run is shown: while it goes on, in the terminal, and as Markdown. All from the values of results.json."""
