//! Example programs for dmaring, each a file of its own.
