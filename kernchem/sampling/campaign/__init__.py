"""Parts of a campaign: who labels, what is kept, how the model follows, and when it ends."""
