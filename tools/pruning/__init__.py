"""How much may go before the words do: a sweep over shares."""
