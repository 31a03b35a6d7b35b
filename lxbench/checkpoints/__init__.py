"""Where weights come from: the embedded model in its own format, and shapes without any. Without torch until asked."""
