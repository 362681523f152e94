//! The README shows the example that is compiled and run.

#[test]
fn the_readme_has_the_example_as_it_is() {
    let readme = include_str!("../../README.md");
    let example = include_str!("../hello_copy.rs");
    assert!(readme.contains(&format!("```rust\n{example}```\n")));
}
