//! Measurements of dmaring against the system's own copies.
