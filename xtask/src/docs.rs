//! `cargo xtask docs`: the API documentation and the book.

use std::path::PathBuf;

use crate::{
    command::Run,
    failure::{Outcome, all},
    root, target,
};

/// The book's builder, where the machine has none.
const MDBOOK_VERSION: &str = "0.5.4";

/// Builds both; a warning is an error.
pub(crate) fn run() -> Outcome {
    all([api(), book()]).map(drop)
}

fn api() -> Outcome {
    // The command's binary is called as the runtime's library is, and the two would write the same pages.
    Run::cargo()
        .args(["doc", "--workspace", "--no-deps", "--exclude", "dmaring-cli"])
        .env("RUSTDOCFLAGS", "-D warnings")
        .limit(10)
        .run()
}

fn book() -> Outcome {
    Run::new(mdbook()?).args(["build", "docs"]).run()?;
    println!("the book: {}", root().join("docs/book/index.html").display());
    Ok(())
}

/// The machine's mdBook, or else one of a fixed version among the build's own tools.
fn mdbook() -> Outcome<PathBuf> {
    let machine = PathBuf::from("mdbook");
    if Run::new(&machine).arg("--version").succeeds() {
        return Ok(machine);
    }
    let tools = target("tools");
    let ours = tools.join("bin/mdbook");
    if !Run::new(&ours).arg("--version").succeeds() {
        Run::cargo()
            .args(["install", "mdbook", "--version", MDBOOK_VERSION, "--locked", "--debug"])
            .args(["--no-default-features", "--features", "search", "--root"])
            .arg(&tools)
            .env("CARGO_TARGET_DIR", tools.join("build"))
            .limit(10)
            .run()?;
    }
    Ok(ours)
}
