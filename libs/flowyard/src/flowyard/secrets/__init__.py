"""Secret values: sealed where they are stored (`sealing`), masked where they could be shown (`masking`)."""
