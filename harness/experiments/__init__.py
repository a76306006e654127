"""One module a question. Each experiment turns one trial into marks and samples."""
