//! As much of TOML as the workspace's manifests use: tables of one-line keys.

/// One `key = value` line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry<'a> {
    /// The table's name as written between its brackets; empty before the first.
    pub(super) table: &'a str,
    /// The key as written; `name.workspace` stays one key.
    pub(super) key: &'a str,
    /// The value as written; of a value that goes on over lines, the first line.
    pub(super) value: &'a str,
    /// The line, counted from 1.
    pub(super) line: usize,
}

/// The entries of a manifest in order.
pub(super) fn entries(text: &str) -> Vec<Entry<'_>> {
    let mut table = "";
    let mut entries = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            table = name.trim_matches(['[', ']']).trim();
        } else if let Some((key, value)) = line.split_once('=')
            && !line.starts_with(['#', '"', '\''])
        {
            entries.push(Entry { table, key: key.trim(), value: value.trim(), line: index + 1 });
        }
    }
    entries
}

#[cfg(test)]
mod tests {
    use super::entries;

    #[test]
    fn tables_keys_and_lines_are_read() {
        let text = "# a = b\n[package]\nname = \"x\"\nversion.workspace = true\n\n[target.'cfg(loom)'.dependencies]\nloom = { workspace = true }\n[[bench]]\nname = \"y\"";
        let read: Vec<_> =
            entries(text).iter().map(|e| (e.table, e.key, e.value, e.line)).collect();
        assert_eq!(
            read,
            [
                ("package", "name", "\"x\"", 3),
                ("package", "version.workspace", "true", 4),
                ("target.'cfg(loom)'.dependencies", "loom", "{ workspace = true }", 7),
                ("bench", "name", "\"y\"", 9),
            ]
        );
    }
}
