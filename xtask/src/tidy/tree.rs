//! The text files that the checks read.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use crate::failure::{Failure, Outcome};

/// The workspace's Rust, Markdown and TOML files by path from its root, and the names of all its files.
#[derive(Debug, Default)]
pub(super) struct Tree {
    /// Every file and directory there is, text or not, by path; text is `None` where it was not read.
    entries: BTreeMap<String, Option<String>>,
}

impl Tree {
    /// Reads the tree under `root`, but for what is built or hidden.
    pub(super) fn read(root: &Path) -> Outcome<Self> {
        let mut tree = Self::default();
        let mut directories = vec![PathBuf::new()];
        while let Some(directory) = directories.pop() {
            let absolute = root.join(&directory);
            let failure = || Failure::of(format!("cannot read {}", absolute.display()));
            for entry in fs::read_dir(&absolute).map_err(failure())? {
                let entry = entry.map_err(failure())?;
                let path = directory.join(entry.file_name());
                let Some(name) = path.to_str().map(str::to_owned) else { continue };
                let kind = entry.file_type().map_err(failure())?;
                if kind.is_dir() {
                    if !skipped(&name) {
                        directories.push(path);
                        tree.entries.insert(name, None);
                    }
                } else {
                    let text = match is_read(&name) {
                        true => Some(crate::command::read(&root.join(&path))?),
                        false => None,
                    };
                    tree.entries.insert(name, text);
                }
            }
        }
        Ok(tree)
    }

    /// A tree of these files, for tests.
    #[cfg(test)]
    pub(super) fn of(files: &[(&str, &str)]) -> Self {
        let mut tree = Self::default();
        for (path, text) in files {
            let mut parent = *path;
            while let Some((directory, _)) = parent.rsplit_once('/') {
                tree.entries.insert(directory.to_owned(), None);
                parent = directory;
            }
            tree.entries.insert((*path).to_owned(), Some((*text).to_owned()));
        }
        tree
    }

    /// Whether there is a file or a directory of this path.
    pub(super) fn has(&self, path: &str) -> bool {
        path.is_empty() || self.entries.contains_key(path)
    }

    /// The text of a file that is read.
    pub(super) fn text(&self, path: &str) -> Option<&str> {
        self.entries.get(path)?.as_deref()
    }

    /// The files whose names end in `.extension`, with their text, in order.
    pub(super) fn files(&self, extension: &str) -> impl Iterator<Item = (&str, &str)> {
        self.entries.iter().filter_map(move |(path, text)| {
            let (_, end) = path.rsplit_once('.')?;
            (end == extension).then_some((path.as_str(), text.as_deref()?))
        })
    }
}

fn skipped(directory: &str) -> bool {
    let name = directory.rsplit('/').next().unwrap_or(directory);
    name == "target" || name.starts_with('.') || directory == "docs/book"
}

fn is_read(file: &str) -> bool {
    [".rs", ".md", ".toml"].iter().any(|end| file.ends_with(end))
}

#[cfg(test)]
mod tests {
    use super::Tree;

    #[test]
    fn the_tree_on_disk_is_read_but_for_what_is_built_or_hidden() {
        let directory = tempfile::tempdir().unwrap();
        let files = ["a/lib.rs", "a/data.bin", "a/target/x.rs", ".git/y.rs", "docs/book/z.md"];
        for file in files {
            let path = directory.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "text").unwrap();
        }
        let tree = Tree::read(directory.path()).unwrap();
        assert_eq!(tree.files("rs").collect::<Vec<_>>(), [("a/lib.rs", "text")]);
        assert!(tree.has("a/data.bin") && tree.text("a/data.bin").is_none());
        assert!(tree.has("docs") && !tree.has("docs/book/z.md"));
    }
}
